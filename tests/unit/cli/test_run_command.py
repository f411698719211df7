"""A job of a file, and of options, runs to its end, and says how to go on where it does not."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pyarrow.parquet as pq
import pytest

OPTIONS = ("--in", "notes.csv", "--key", "id", "--prompt", "prompt.md", "--model", "google/gemma-4-31b-it")


def read(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_the_job_of_a_file_has_typed_answers_in_a_file_of_each_format(command, table, emulator, name):
    assert command("run", "--out", name) == 0
    rows = read(table / name)
    assert [int(row["id"]) for row in rows] == list(range(1, 9))
    assert {row["mood"] for row in rows} <= {"good", "bad"}
    words = [row["words"] if name.endswith("jsonl") else json.loads(row["words"]) for row in rows]
    assert all(isinstance(one, list) for one in words)
    assert emulator.ledger()["requests_billed"] == 8
    content = (table / name).read_bytes()
    # Started again it asks nothing, writes nothing, and the answers of the table that the job names are not its own.
    assert command("run", "--out", name) == 0
    assert emulator.ledger()["requests_billed"] == 8
    assert (table / name).read_bytes() == content


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_only_what_is_new_or_has_changed_is_asked_again_and_the_rest_stays_byte_for_byte(
    command, table, emulator, name
):
    assert command("run", "--out", name, job=OPTIONS) == 0
    before = (table / name).read_bytes().splitlines()
    (table / "notes.csv").write_text((table / "notes.csv").read_text().replace("note 3", "another note") + "13,new\n")
    assert command("run", "--out", name, job=OPTIONS) == 0
    after = (table / name).read_bytes().splitlines()
    assert emulator.ledger()["requests_billed"] == 14
    assert len(set(before) - set(after)) == 1
    assert sorted(int(row["id"]) for row in read(table / name)) == list(range(1, 14))


def test_a_file_that_is_gone_is_written_again_and_nothing_is_asked(command, table, emulator):
    assert command("run", "--out", "out.csv") == 0
    before = (table / "out.csv").read_bytes()
    (table / "out.csv").unlink()
    assert command("run", "--out", "out.csv") == 0
    assert (table / "out.csv").read_bytes() == before
    assert emulator.ledger()["requests_billed"] == 8


def test_options_win_over_the_job_of_a_file(command, table, emulator):
    (table / "messages.json").write_text('[{"role": "user", "content": "Mood of {{ text }}?"}]')
    (table / "answer.json").write_text(
        '{"type": "object", "properties": {"mood": {"enum": ["fine", "poor"]}}, "required": ["mood"]}'
    )
    given = (
        "--in",
        "notes.csv",
        "--in-types",
        '{"id": "integer"}',
        "--messages",
        "messages.json",
        "--answer",
        "answer.json",
    )
    assert command("run", "--out", "out.jsonl", "--limit", "3", *given) == 0
    rows = read(table / "out.jsonl")
    assert [row["id"] for row in rows] == [1, 2, 3]
    assert {row["mood"] for row in rows} <= {"fine", "poor"}
    assert "words" not in rows[0]


def test_more_rows_than_the_limit_are_another_run(command, table, emulator):
    for limit, billed in ((2, 2), (5, 5)):
        assert command("run", "--out", "out.csv", "--limit", str(limit)) == 0
        assert emulator.ledger()["requests_billed"] == billed
    assert [row["id"] for row in read(table / "out.csv")] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "out.xlsx"), "end it with .parquet, .pq, .csv, .tsv, .jsonl, .ndjson or, for a folder"),
        (("--out", "out"), "or set --out-format"),
        (("--out", "out/", "--out-format", "csv"), "a folder holds Parquet files, not csv"),
        (("--out", "notes.csv", "--in", "notes.csv"), "the rows are read from there"),
        (("--out", "s3://bucket/out.csv"), "a single file can be written on this machine's disk only"),
        (("--out", "prompt.csv"), "holds no answers by the key id"),
        (("--out", "out.csv", "--partition-by", "id"), "--partition-by makes folders"),
        (("--out", "out.csv", "--canary", "-1"), "--canary is -1; it is 0 (none) or more"),
        (("--out", "out.csv", "--model", "google/gemma"), "is not on the server's list"),
        (("--out", "out.csv", "--max-rows", "3"), "the job's budget (--max-rows)"),
        (("--out", "out.csv", "--job", "gone.py"), "gone.py: no such file"),
        (("--out", "out.csv", "--answer", "job.py:Labels"), "job.py has no Pydantic model Labels; it has Label"),
        (("--out", "out.csv", "--answer", "no.such.module:Label"), "the module no.such.module cannot be imported"),
        (("--out", "out.csv", "--messages", "prompt.md"), "prompt.md: not JSON"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_sent(command, table, emulator, capsys, words, said):
    (table / "prompt.csv").write_text("mine\n1\n")
    assert command("run", *words) == 1
    assert said in capsys.readouterr().err
    assert (emulator.ledger()["files_uploaded"], emulator.ledger()["requests_billed"]) == (0, 0)
    assert (table / "prompt.csv").read_text() == "mine\n1\n"


def test_a_server_that_nobody_answers_at_is_named_and_nothing_was_sent(command, table, capsys, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert command("run", "--out", "out.csv", "--base-url", "http://127.0.0.1:9/v1") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "list models: not sent (127.0.0.1:9: ConnectError" in said
    assert said.endswith("Nothing was sent; start the same command again to try again")


def test_an_error_after_something_was_sent_says_that_it_is_kept(command, emulator, capsys):
    emulator.faults([{"endpoint": "POST /batches", "kind": "status", "status": 402, "message": "no credit"}])
    assert command("run", "--out", "out.csv") == 1
    said = capsys.readouterr().err
    assert "Top up the account first" in said
    assert "What was sent is kept in staging; start the same command again to go on" in said
    assert command("run", "--out", "out.csv") == 0


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_one_sentence_and_the_next_start_goes_on(table, emulator, command):
    emulator.faults([{"kind": "stuck", "status": "in_progress", "fraction": 0.5}])
    words = ["--base-url", emulator.base_url, "--staging", "staging", "--out", "out.csv", "--canary", "0"]
    started = subprocess.Popen(
        [sys.executable, "-m", "greennode_batch.cli", "run", *OPTIONS, *words],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "GREENNODE_API_KEY": emulator.api_key},
        # A job in the background has Ctrl-C ignored, and so would its children.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - it only sets this
    )  # fmt: skip
    while not emulator.ledger()["batches_created"]:
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130
    assert said.splitlines()[-1] == (
        "greennode-batch: stopped. What was sent is kept in staging; start the same command again to go on, and "
        "nothing is paid twice"
    )
    assert "Traceback" not in said
    assert not (table / "out.csv").exists()


def test_missing_options_are_wrong_usage_and_job_is_offered(command, capsys):
    with pytest.raises(SystemExit) as ended:
        command("run", "--out", "out.csv", job=("--key", "id"))
    assert ended.value.code == 2
    assert "are required: --in, --model, --prompt or --messages; or --job" in capsys.readouterr().err


def test_stopped_before_anything_was_sent_it_says_so(command, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("greennode_batch.run.settle_cost", stop)
    assert command("run", "--out", "out.csv") == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "greennode-batch: stopped. Nothing was sent; start the same command again to begin"


def test_a_job_that_asks_a_person_above_a_sum_is_refused_above_it(command, table, emulator, capsys):
    text = (table / "job.py").read_text().replace("import BatchJob,", "import BatchJob, Budget,")
    (table / "job.py").write_text(text.replace("    params=", "    budget=Budget(approve_over=1),\n    params="))
    (table / "prices.json").write_text('{"google/gemma-4-31b-it": [10000000, 10000000]}')
    assert command("run", "--out", "out.csv", "--prices", "prices.json") == 1
    assert "over the job's budget of 1 VND (--max-cost)" in capsys.readouterr().err
    assert emulator.ledger()["files_uploaded"] == 0
    assert command("run", "--out", "out.csv", "--prices", "prices.json", "--max-cost", "1e9") == 0


def test_live_asks_one_by_one_and_costs_no_batch(command, table, emulator):
    assert command("run", "--out", "out.csv", "--live", "--canary", "0", "--max-concurrency", "2", job=OPTIONS) == 0
    assert len(read(table / "out.csv")) == 12
    ledger = emulator.ledger()
    assert (ledger["batches_created"], ledger["chat_requests_billed"]) == (0, 12)
    assert ledger["chat_most_at_once"] <= 2


@pytest.mark.parametrize(("words", "code"), [("6h", 0), ("1h30m", 0), ("soon", 2), ("", 2)])
def test_finish_by_is_a_time(command, words, code):
    if code:
        with pytest.raises(SystemExit) as end:
            command("run", "--out", "out.csv", "--finish-by", words, job=OPTIONS)
        assert end.value.code == code
    else:
        assert command("run", "--out", "out.csv", "--finish-by", words, job=OPTIONS) == 0
