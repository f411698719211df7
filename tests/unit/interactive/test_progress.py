"""A bar where there is a terminal, else a line now and then."""

import io
import logging
import sys

import pytest

from greennode_batch.interactive.progress import PLAIN_SECONDS, ProgressDisplay, engine_log


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def all_is_logged(caplog):
    caplog.set_level(logging.INFO)


def lines_of(stream):
    return [line.partition(" ")[2] for line in stream.getvalue().splitlines()]


def test_without_a_terminal_a_line_comes_at_most_every_ten_seconds_and_at_each_end(clock):
    stream = io.StringIO()
    with ProgressDisplay(stream, clock=clock) as progress:
        for done in range(0, 101, 5):
            progress("waiting for answers", done, 100)
            clock.sleep(PLAIN_SECONDS / 4)
        progress("writing rows", 7, None)
        progress("writing rows", 9, None)
    assert lines_of(stream) == [
        "waiting for answers: 0 of 100",
        "waiting for answers: 20 of 100, 2 a second, about 40 s left",
        "waiting for answers: 40 of 100, 2 a second, about 30 s left",
        "waiting for answers: 60 of 100, 2 a second, about 20 s left",
        "waiting for answers: 80 of 100, 2 a second, about 10 s left",
        "waiting for answers: 100 of 100, 2 a second",
        "writing rows: 7",
        "writing rows: 9",
    ]


def test_in_a_terminal_there_is_a_bar_with_rate_and_time_left_and_the_log_above_it(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with ProgressDisplay(stream, clock=clock) as progress:
        for done in (0, 50, 100):
            progress("waiting for answers", done, 200)
            clock.sleep(10)
        logging.getLogger("greennode_batch").info("one line of the log")
        progress._bar.refresh()
        progress.pause()
        shown = stream.getvalue()
    assert "━" in shown
    assert "100 of 200, 5 a second, about 20 s left" in shown
    assert "one line of the log" in shown
    # What is behind is a whole terminal again: the cursor is shown.
    assert shown.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in shown


def test_what_is_printed_goes_where_it_should(clock, capsys):
    with ProgressDisplay(Terminal(), clock=clock) as progress:
        progress("reading rows", 1)
        progress.pause()
        sys.stdout.write("the result\n")
    assert capsys.readouterr().out == "the result\n"


def test_the_engines_log_has_a_level_for_a_while():
    log = logging.getLogger("greennode_batch")
    before = log.level
    with engine_log(logging.ERROR):
        assert log.level == logging.ERROR
    assert log.level == before
