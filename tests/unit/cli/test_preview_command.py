"""What a run would ask is shown, and nothing is sent or kept."""

import subprocess
import sys

import pytest


def test_the_job_of_a_file_is_shown_without_a_key(command, monkeypatch, capsys, emulator):
    monkeypatch.delenv("GREENNODE_API_KEY")
    assert command("preview", "--requests", "1", "--limit", "2") == 0
    said = capsys.readouterr().out
    assert said.startswith("2 rows: 2 requests in 1 shard")
    assert "row id = 1, model google/gemma-4-31b-it" in said
    assert "Label" in said
    assert emulator.ledger()["calls"] == {}


def test_what_a_file_has_answered_would_not_be_asked_again(command, capsys):
    assert command("run", "--out", "out.csv", "--limit", "3") == 0
    capsys.readouterr()
    assert command("preview", "--out", "out.csv") == 0
    assert "5 requests" in (said := capsys.readouterr().out)
    assert "3 rows unchanged" in said


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_error(table):
    words = f"{sys.executable} -m greennode_batch.cli preview --job job.py --requests 8 | head -n 1"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("8 rows: ")
    assert "Broken" not in done.stderr
    assert "Traceback" not in done.stderr
