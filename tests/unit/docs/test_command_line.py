"""What docs/reference/command-line.md shows works: its files are written and its commands run, in their order."""

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from greennode_batch.cli.command_line import command_parsers, main

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "command-line.md").read_text()


def files():
    """The files that the page shows: their names, and their contents."""
    yield from re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands():
    for words in re.findall(r"^\$ (greennode-batch (?:.*\\\n)*.*)$", PAGE, re.MULTILINE):
        yield shlex.split(words.replace("\\\n", " "))[1:]


@pytest.mark.slow
def test_its_examples_run_as_they_are_shown(tmp_path, monkeypatch, emulator, quick_polls, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GREENNODE_API_KEY", emulator.api_key)
    written = dict(files())
    assert list(written) == ["tickets.csv", "prompt.md", "label.json", "messages.json"]
    for name, text in written.items():
        Path(name).write_text(text)
    shown = [words for words in commands() if "--job" not in words]
    assert [words[0] for words in shown] == ["preview", "run", "run"]
    for words in shown:
        assert main([word.replace("https://HOST/v1", emulator.base_url) for word in words]) == 0, words
    with Path("answers.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    labels = [json.loads(line) for line in Path("labels.jsonl").read_text().splitlines()]
    assert [row["id"] for row in labels] == ["1", "2"]
    assert {row["department"] for row in labels} <= {"billing", "support", "other"}


def test_every_option_that_its_examples_show_exists():
    parsers = command_parsers()
    for words in commands():
        parsers[words[0]].parse_args(words[1:])


def test_the_help_is_readable_at_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for parser in command_parsers().values():
        assert max(map(len, parser.format_help().splitlines())) <= 80
        assert all(action.help for action in parser._actions)
