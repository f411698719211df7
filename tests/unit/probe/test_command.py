from __future__ import annotations

import argparse
import json

import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.probe.command import add_parser
from greennode_emulator.server import running
from greennode_emulator.settings import Settings


@pytest.fixture
def command(monkeypatch, emulator, tmp_path):
    """Runs the command line's `probe` in an empty folder; its exit code."""
    monkeypatch.setenv("GREENNODE_API_KEY", emulator.api_key)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        parser = argparse.ArgumentParser()
        add_parser(parser.add_subparsers())
        options = parser.parse_args(["probe", *map(str, arguments)])
        return options.command(options)

    return run


def test_it_says_the_cost_first_and_the_profile_last(command, emulator, tmp_path, capsys):
    assert command("--base-url", emulator.base_url, "--out", "found") == 0
    output = capsys.readouterr().out
    assert output.startswith("At most 6 chats and 5 batches of 2 lines will be sent")
    assert "Sent: 4 chats, 3 batches with 6 lines" in output
    assert '"profile": "greennode"' in output
    report = json.loads((tmp_path / "found" / "report.json").read_text())
    assert report["profile"] == {"profile": "greennode"}
    assert report["sent"]["batches"] == emulator.ledger()["batches_created"]


def test_open_batches_end_with_the_command_that_goes_on(command, clock, monkeypatch, capsys):
    with running(Settings(batch_seconds=1.0, clock=clock)) as slow:
        monkeypatch.setenv("GREENNODE_API_KEY", slow.api_key)
        assert command("--base-url", slow.base_url, "--out", "found", "--wait", 0) == 3
        assert "greennode-batch probe --resume found" in capsys.readouterr().out
        clock.sleep(60)
        assert command("--resume", "found") == 0
        assert slow.ledger()["batches_created"] == 3


def test_a_refused_key_ends_with_1_and_a_sentence(command, emulator, monkeypatch, capsys):
    monkeypatch.setenv("GREENNODE_API_KEY", "wrong")
    assert command("--base-url", emulator.base_url) == 1
    assert "The probe ended early: the server refuses the key" in capsys.readouterr().out


def test_without_a_key_nothing_is_sent(command, emulator, monkeypatch):
    monkeypatch.delenv("GREENNODE_API_KEY")
    with pytest.raises(ConfigError, match="GREENNODE_API_KEY is not set"):
        command("--base-url", emulator.base_url)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--base-url is missing"),
        (("--resume", "nowhere"), "no probe to go on with"),
        (("--base-url", "http://api.test/v1"), "unencrypted"),
        (("--base-url", "https://api.test"), "does not end in a version"),
    ],
)
def test_wrong_usage_is_named(command, arguments, words):
    with pytest.raises(ConfigError, match=words):
        command(*arguments)


def test_a_folder_that_holds_a_probe_is_not_written_over(command, emulator, tmp_path):
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "resume.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds an earlier probe"):
        command("--base-url", emulator.base_url, "--out", "found")
