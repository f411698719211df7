import json
import subprocess
import sys

import pytest

OPTIONS = ("--in", "notes.csv", "--key", "id", "--prompt", "prompt.md", "--model", "google/gemma-4-31b-it")


@pytest.fixture
def shown(command, monkeypatch, capsys):
    """Runs `try` and gives what it shows."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words, **options):
        assert command("try", *words, **options) == 0
        return capsys.readouterr().out

    return run


def test_the_first_rows_are_answered_live_and_nothing_is_written(shown, table, emulator):
    before = sorted(table.iterdir())
    out = shown("--rows", "3")
    assert all(name in out for name in ("mood", "words", "score", "tokens", "seconds"))
    assert "3 rows (3 succeeded)" in out
    assert "The whole table (8 rows)" in out
    ledger = emulator.ledger()
    assert (ledger["chat_requests_billed"], ledger["batches_created"]) == (3, 0)
    assert sorted(table.iterdir()) == before


def test_what_does_not_fit_the_answer_model_says_why(shown, emulator):
    wrong = {"kind": "chat_answer", "endpoint": "POST /chat/completions", "answer": "wrong_schema", "count": None}
    emulator.faults([wrong])
    out = shown("--rows", "2")
    assert "2 invalid_output" in out
    assert "invalid_output: mood" in out


def test_prices_say_what_the_whole_table_costs(shown, table):
    (table / "prices.json").write_text(json.dumps({"google/gemma-4-31b-it": [1_000_000, 1_000_000]}))
    out = shown("--rows", "2", "--prices", "prices.json", job=OPTIONS)
    assert "VND live" in out.splitlines()[-2]
    assert "VND in batches" in out.splitlines()[-1]


def test_with_out_the_answers_are_written_and_paid_for_once(shown, table, emulator):
    shown("--rows", "2", "--out", "out.jsonl", job=OPTIONS)
    rows = [json.loads(line) for line in (table / "out.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["succeeded"] * 2
    assert emulator.ledger()["chat_requests_billed"] == 2


def test_reasoning_is_shown_on_demand(shown):
    job = (*OPTIONS[:-1], "greennode/greenmind-medium-14b-r1")
    assert "reasoning" not in shown("--rows", "1", job=job)
    assert "reasoning" in shown("--rows", "1", "--show-reasoning", job=job)


@pytest.mark.slow
def test_a_try_does_not_wait_for_pandas(table, emulator, monkeypatch):
    monkeypatch.setenv("GREENNODE_API_KEY", emulator.api_key)
    program = "import sys; from greennode_batch.cli import main; print(main(), [*sys.modules])"
    words = ["try", "--job", "job.py", "--base-url", emulator.base_url]
    said = subprocess.check_output([sys.executable, "-c", program, *words], text=True)
    code, _, modules = said.splitlines()[-1].partition(" ")
    assert code == "0"
    assert "'pyarrow'" in modules
    assert "'pandas'" not in modules
