from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from tests.witness.enveloped_servers import Crane
from tests.witness.invented_server import KEY, MODEL

from greennode_batch.cli.command_line import main
from greennode_batch.errors import ConfigError
from greennode_emulator.server import running
from greennode_emulator.settings import Settings


@pytest.fixture
def command(monkeypatch, emulator, tmp_path):
    """Runs the command line's `probe` in an empty folder; its exit code."""
    monkeypatch.setenv("GREENNODE_API_KEY", emulator.api_key)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return main(["probe", *map(str, arguments)])

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
    assert "greennode-batch: the probe ended early: the server refuses the key" in capsys.readouterr().err


def test_a_server_that_nobody_answers_at_is_named(command, capsys):
    assert command("--base-url", "http://127.0.0.1:9/v1") == 1
    assert "127.0.0.1" in capsys.readouterr().err


def test_stopped_by_hand_it_ends_with_130_and_says_how_to_go_on(command, emulator, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("greennode_batch.probe.wait_steps.poll", stop)
    assert command("--base-url", emulator.base_url, "--out", "found") == 130
    said = capsys.readouterr().err
    assert said.endswith("greennode-batch: stopped. To go on, now or later: greennode-batch probe --resume found\n")


def test_without_a_key_nothing_is_sent(command, emulator, monkeypatch, capsys):
    monkeypatch.delenv("GREENNODE_API_KEY")
    assert command("--base-url", emulator.base_url) == 1
    assert "GREENNODE_API_KEY is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--base-url is missing"),
        (("--resume", "nowhere"), "no probe to go on with"),
        (("--base-url", "http://api.test/v1"), "allow http for this host by name (--allow-http api.test)"),
        (("--base-url", "https://api.test"), "does not end in a version"),
    ],
)
def test_wrong_usage_is_named(command, capsys, arguments, words):
    assert command(*arguments) == 1
    assert words in capsys.readouterr().err


def test_a_folder_that_holds_a_probe_is_not_written_over(command, emulator, tmp_path, capsys):
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "resume.json").write_text("{}")
    assert command("--base-url", emulator.base_url, "--out", "found") == 1
    assert "holds an earlier probe" in capsys.readouterr().err


@pytest.fixture
def airflow(monkeypatch):
    """What was checked and saved in Airflow, which refuses what `refuses` names."""
    calls = SimpleNamespace(made=[], refuses=None)

    def record(step):
        def call(name, base_url, *_found, **_options):
            calls.made.append((step, name, base_url, *_found))
            if calls.refuses == step:
                raise ConfigError("Airflow refuses the login of 'admin'")

        return call

    for step in ("check_connection", "save_profile"):
        monkeypatch.setattr(f"greennode_batch.cli.probe_command.{step}", record(step))
    return calls


def test_the_profile_is_saved_in_a_connection_when_the_probe_came_to_its_end(command, emulator, monkeypatch, airflow):
    assert command("--base-url", emulator.base_url, "--out", "found", "--save", "gn") == 0
    url = emulator.base_url
    assert airflow.made == [("check_connection", "gn", url), ("save_profile", "gn", url, {"profile": "greennode"})]
    monkeypatch.setenv("GREENNODE_API_KEY", "wrong")
    assert command("--base-url", url, "--out", "other", "--save", "gn") == 1
    assert airflow.made[2:] == [("check_connection", "gn", url)]


def test_a_connection_that_cannot_be_written_costs_no_probe(command, emulator, capsys, airflow):
    airflow.refuses = "check_connection"
    assert command("--base-url", emulator.base_url, "--out", "found", "--save", "gn") == 1
    assert "refuses the login" in capsys.readouterr().err
    assert not emulator.ledger()["calls"]


def test_a_save_that_fails_says_how_to_save_it_later(command, emulator, capsys, airflow):
    airflow.refuses = "save_profile"
    assert command("--base-url", emulator.base_url, "--out", "found", "--save", "gn") == 1
    assert "greennode-batch probe --resume found --save gn" in capsys.readouterr().err
    asked = emulator.ledger()["chat_requests_billed"]
    airflow.refuses = None
    assert command("--resume", "found", "--save", "gn") == 0
    assert airflow.made[-1][:2] == ("save_profile", "gn")
    assert emulator.ledger()["chat_requests_billed"] == asked


def test_an_address_without_a_version_is_probed_by_an_option(command, capsys, monkeypatch):
    monkeypatch.setenv("GREENNODE_API_KEY", KEY)
    with Crane() as server:
        assert command("--base-url", server.base_url, "--model", MODEL, "--out", "none") == 1
        assert "set --no-version" in capsys.readouterr().err
        command("--base-url", server.base_url, "--model", MODEL, "--out", "found", "--no-version", "--wait", 0)
        assert '"base_url_version": false' in capsys.readouterr().out
        assert command("--resume", "found", "--wait", 0) in {0, 3}
