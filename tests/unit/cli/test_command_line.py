import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greennode_batch.cli import main
from greennode_emulator.answers import answer_for

# Whole programs run here: part of `make test`, not of `make unit`.
pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[3]
PACKAGES = PROJECT.parent / "shared/data/debian_packages.parquet"
MODEL = "google/gemma-4-31b-it"
PROMPT = "Which section?\n{{ name }}: {{ text }}"

# Runs the command line, and is killed before or after one of its steps.
KILLED = """
import importlib, os, signal, sys
from greennode_batch.api.polling import polling
polling.MIN_POLL_SECONDS = 0.01
module, owner, name, when = sys.argv[1].split(":")
target = importlib.import_module(module)
target = getattr(target, owner) if owner else target
step = getattr(target, name)
def killed(*args, **options):
    done = step(*args, **options) if when == "after" else None
    os.kill(os.getpid(), signal.SIGKILL)
setattr(target, name, killed)
from greennode_batch.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def rows(tmp_path):
    table = pa.table(
        {
            "id": range(300),
            "version": [f"v{n % 7}" for n in range(300)],
            "name": [f"package {n % 250}" for n in range(300)],
            "text": [None if n % 250 == 7 else f"does “{n % 250}”\nand more" for n in range(300)],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    return table.to_pylist()


@pytest.fixture
def arguments(tmp_path, rows, emulator, monkeypatch, quick_polls):
    monkeypatch.setenv("GREENNODE_API_KEY", emulator.api_key)
    (tmp_path / "prompt.md").write_text(PROMPT)

    def make(**changes):
        options = {
            "in": tmp_path / "rows.parquet",
            "key": "id, version",
            "prompt": tmp_path / "prompt.md",
            "model": MODEL,
            "params": '{"max_tokens": 200}',
            "out": tmp_path / "out/answers.parquet",
            "base-url": emulator.base_url,
            "staging": tmp_path / "staging",
            # Each staging folder is new, and no results of the server were read there before.
            "pilot-requests": 0,
            **changes,
        }
        return ["run", *(part for name, value in options.items() for part in (f"--{name}", str(value)))]

    return make


def answer_of(row):
    text = f"Which section?\n{row['name']}: {row['text'] or ''}"
    return answer_for({"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 200}).content


def check(tmp_path, rows):
    """Every row is there, with the answer that belongs to it."""
    found = {(row["id"], row["version"]): row for row in pq.read_table(tmp_path / "out/answers.parquet").to_pylist()}
    assert set(found) == {(row["id"], row["version"]) for row in rows}
    assert all(found[row["id"], row["version"]]["answer"] == answer_of(row) for row in rows)


def test_every_row_gets_its_own_answer_and_a_second_start_bills_nothing(arguments, tmp_path, rows, emulator, capsys):
    assert main(arguments()) == 0
    check(tmp_path, rows)
    assert capsys.readouterr().out.startswith("300 rows (300 succeeded) from 250 requests in 1 shard; ")
    ledger = emulator.ledger()
    assert len(ledger["requests"]) == ledger["requests_billed"] == 250
    for _ in range(2):
        assert main(arguments()) == 0
        said = capsys.readouterr().out
        assert said.startswith("0 rows (none) from 0 requests in 0 shards; ")
        assert "300 rows unchanged since an earlier run" in said
        assert "all rows are answered already: no batch was created, no file written" in said
    (tmp_path / "out/answers.parquet").unlink()
    assert main(arguments()) == 0
    check(tmp_path, rows)
    after = emulator.ledger()
    assert (after["requests"], after["batches_created"]) == (ledger["requests"], ledger["batches_created"])


def test_a_path_that_ends_in_a_slash_is_a_dataset(arguments, tmp_path, rows, emulator):
    options = {"out": f"{tmp_path}/answers/", "partition-by": "version"}
    assert main(arguments(**options)) == 0
    ledger = emulator.ledger()
    assert main(arguments(**options)) == 0
    assert emulator.ledger()["requests"] == ledger["requests"]
    found = pd.read_parquet(tmp_path / "answers").set_index("id")
    assert found["version"].astype(str).to_dict() == {row["id"]: row["version"] for row in rows}
    assert found["answer"].to_dict() == {row["id"]: answer_of(row) for row in rows}
    folders = {f"version=v{n}" for n in range(7)}
    assert {path.name for path in (tmp_path / "answers").iterdir()} == {*folders, "_common_metadata"}


def test_a_copy_of_the_file_is_the_same_run_and_another_prompt_is_another(arguments, tmp_path, emulator):
    main(arguments())
    os.utime(tmp_path / "rows.parquet", (1, 1))
    assert main(arguments()) == 0
    assert emulator.ledger()["batches_created"] == 1
    (tmp_path / "prompt.md").write_text(f"{PROMPT}!")
    assert main(arguments()) == 0
    assert emulator.ledger()["batches_created"] == 2


@pytest.mark.parametrize(("name", "options"), [("in", {}), ("in/part-0", {"in-format": "csv"})])
def test_rows_of_csv_are_asked_and_other_content_is_another_run(arguments, tmp_path, emulator, name, options):
    folder = tmp_path / "in"
    folder.mkdir()
    file = folder / ("rows.csv" if name == "in" else "part-0")
    file.write_text("id,name,text\n007,a,one\n008,b,two\n")
    command = arguments(**{"in": tmp_path / name, "key": "id", **options})
    assert main(command) == main(command) == 0
    assert pq.read_table(tmp_path / "out/answers.parquet")["id"].to_pylist() == ["007", "008"]
    assert emulator.ledger()["batches_created"] == 1
    file.write_text("id,name,text\n007,a,one\n009,b,three\n")
    assert main(command) == 0
    assert emulator.ledger()["batches_created"] == 2
    # A row that left the source stays in the file.
    assert pq.read_table(tmp_path / "out/answers.parquet")["id"].to_pylist() == ["007", "008", "009"]
    assert set(emulator.ledger()["requests"].values()) == {1}


def test_more_samples_are_another_run_and_one_is_the_run_that_it_was(arguments, tmp_path, emulator):
    assert main(arguments()) == 0
    assert main(arguments(samples=1)) == 0
    assert emulator.ledger()["batches_created"] == 1
    assert main(arguments(samples=2)) == 0
    assert emulator.ledger()["batches_created"] == 2
    found = pq.read_table(tmp_path / "out/answers.parquet")
    assert found.column_names[:3] == ["id", "version", "sample"]
    assert (found.num_rows, set(found["sample"].to_pylist())) == (600, {1, 2})


def test_another_server_is_another_run(arguments, tmp_path, emulator):
    main(arguments())
    options = {"base-url": emulator.base_url.replace("127.0.0.1", "localhost"), "out": tmp_path / "others.parquet"}
    assert main(arguments(**options)) == 0
    assert emulator.ledger()["batches_created"] == 2


@pytest.mark.parametrize("out", ["answers.parquet", "answers/"])
def test_a_row_that_is_appended_is_one_request_and_each_is_there_once(arguments, tmp_path, emulator, caplog, out):
    def ids():
        return sorted(pd.read_parquet(tmp_path / out)["id"].astype(int))

    file = tmp_path / "rows.csv"
    lines = ["id,name,text", *(f"{number},a,text {number}" for number in range(1, 6))]
    file.write_text("\n".join(lines))
    command = arguments(**{"in": file, "key": "id", "out": f"{tmp_path}/{out}", "canary": 0})
    assert main(command) == 0
    assert (emulator.ledger()["requests_billed"], ids()) == (5, [1, 2, 3, 4, 5])
    file.write_text("\n".join([*lines, "6,a,text 6"]))
    assert main(command) == 0
    assert (emulator.ledger()["requests_billed"], ids()) == (6, [1, 2, 3, 4, 5, 6])
    file.write_text("\n".join([*lines, "6,a,another text"]))
    assert main(command) == 0
    assert (emulator.ledger()["requests_billed"], ids()) == (7, [1, 2, 3, 4, 5, 6])
    assert "1 row has a good answer in a target already, to this request or another one" in caplog.text
    assert main([*command, "--refresh", "all"]) == 0
    assert "6 rows have a good answer in a target already" in caplog.text
    assert (emulator.ledger()["requests_billed"], ids()) == (13, [1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize(
    "point",
    [
        "greennode_batch.plan.build::write_json:before",
        "greennode_batch.api.client:GreenNodeClient:upload_file:after",
        "greennode_batch.api.client:GreenNodeClient:create_batch:after",
        "greennode_batch.run::poll:after",
        "greennode_batch.api.client:GreenNodeClient:download_results:after",
        "greennode_batch.run::note_joined:before",
        "greennode_batch.run::remove_remote_files:before",
    ],
)
def test_killed_at_any_point_and_started_again_it_finishes_and_bills_each_request_once(
    arguments, tmp_path, rows, emulator, point
):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, point, *arguments()], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert main(arguments()) == 0
    check(tmp_path, rows)
    ledger = emulator.ledger()
    assert ledger["batches_created"] == 1
    assert set(ledger["requests"].values()) == {1}
    assert len(ledger["requests"]) == 250
    assert not list((tmp_path / "staging").rglob(".work-*"))
    assert list((tmp_path / "staging").rglob("cleaned.json"))


def test_a_create_that_was_accepted_and_then_dropped_bills_once(arguments, tmp_path, rows, emulator):
    emulator.faults([{"endpoint": "POST /batches", "kind": "reset_after"}])
    assert main(arguments()) == 0
    check(tmp_path, rows)
    assert emulator.ledger()["batches_created"] == 1


def test_two_starts_at_once_do_not_meet(arguments, tmp_path, emulator, capsys):
    main(arguments())
    (lock,) = (tmp_path / "staging").rglob("lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert main(arguments()) == 1
    assert "another process is working on this run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base-url": "http://example.com/v1"}, "would send the key unencrypted: use https://"),
        ({"base-url": "https://example.com"}, "add /v1: https://example.com/v1"),
        ({"base-url": "example.com/v1"}, "has no scheme"),
        ({"in": "gone.parquet"}, "gone.parquet: no such file"),
        ({"prompt": "gone.md"}, "gone.md: no such file"),
        ({"prompt": "my prompts/gone.md"}, "gone.md: no such file\n"),
        ({"prompt": "What is it? {{ body }}"}, "no such file; save the text in a file and give its name"),
        ({"system": "gone.md"}, "gone.md: no such file"),
        ({"in": __file__}, "test_command_line.py: its name does not tell its format; set --format parquet"),
        ({"in": __file__, "in-format": "parquet"}, "test_command_line.py: cannot be read as Parquet"),
        ({"prompt": "/"}, "/: cannot be read as UTF-8 text"),
        ({"out": f"{__file__}/"}, "test_command_line.py: the path is a file, and a dataset needs a folder"),
        ({"out": "s3://bucket/answers.parquet"}, "a single file can be written on this machine's disk only"),
        ({"partition-by": "version"}, "--partition-by makes folders, so --out has to name a folder, ending in /"),
        ({"partition-by": "colour", "out": "answers/"}, "the target has no column 'colour'"),
        ({"model": "google/gemma-4-31b"}, "did you mean 'google/gemma-4-31b-it'"),
        ({"key": "ticket"}, "the source has no column ticket (it has id, version, name, text)"),
        ({"key": "version"}, "row version = v0: this key comes twice"),
        ({"key": ","}, "key is empty"),
        ({"carry": "colour"}, "the source has no column colour"),
        ({"params": '{"model": "x"}'}, "params may not hold model"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_sent(arguments, emulator, capsys, changes, message):
    assert main(arguments(**changes)) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("greennode-batch: ") or "\ngreennode-batch: " in said
    assert "Traceback" not in said
    assert emulator.ledger()["files_uploaded"] == 0


def test_a_column_that_the_prompt_misspells_is_named_with_the_row(arguments, tmp_path, capsys, emulator):
    (tmp_path / "prompt.md").write_text("{{ txt }}")
    assert main(arguments()) == 1
    said = capsys.readouterr().err
    assert "row id, version = 0, v0: prompt of job rows: 'txt' is undefined" in said
    assert "columns id, version, name, text" in said
    assert "Nothing was sent" in said
    assert emulator.ledger()["files_uploaded"] == 0


def test_a_wrong_key_says_where_it_comes_from(arguments, monkeypatch, capsys, emulator):
    monkeypatch.setenv("GREENNODE_API_KEY", "wrong-key")
    assert main(arguments()) == 1
    said = capsys.readouterr().err
    assert "HTTP 401" in said
    assert "The key comes from GREENNODE_API_KEY" in said
    assert "wrong-key" not in said
    assert emulator.ledger()["files_uploaded"] == 0


def test_a_key_that_is_not_set_is_named(arguments, monkeypatch, capsys):
    monkeypatch.delenv("GREENNODE_API_KEY")
    assert main(arguments()) == 1
    assert "GREENNODE_API_KEY is not set" in capsys.readouterr().err


@pytest.mark.parametrize(("params", "message"), [("{max_tokens: 5}", "not JSON"), ("[5]", "not a JSON object such as")])
def test_wrong_params_are_wrong_usage(arguments, capsys, params, message):
    with pytest.raises(SystemExit) as ended:
        main(arguments(params=params))
    assert ended.value.code == 2
    assert f"argument --params: {message}" in capsys.readouterr().err


def test_too_many_rows_without_an_answer_fail_the_run_with_all_rows_written(arguments, tmp_path, rows, capsys):
    assert main(arguments(params='{"max_tokens": 1}')) == 1
    assert "300 of 300 rows ended without an answer" in capsys.readouterr().err
    statuses = pq.read_table(tmp_path / "out/answers.parquet")["status"].to_pylist()
    assert statuses == ["truncated"] * 300


def test_an_empty_table_succeeds_and_says_so(arguments, tmp_path, capsys, emulator):
    pq.write_table(
        pa.table({"id": pa.array([], pa.int64()), "version": [], "name": [], "text": []}), tmp_path / "rows.parquet"
    )
    assert main(arguments()) == 0
    assert "has no rows: no batch was created, no file written" in capsys.readouterr().out
    assert emulator.ledger()["batches_created"] == 0


def test_a_file_name_that_is_no_job_name_works(arguments, tmp_path, rows):
    (tmp_path / "rows.parquet").rename(tmp_path / "tiếng Việt (1).parquet")
    assert main(arguments(**{"in": tmp_path / "tiếng Việt (1).parquet"})) == 0
    check(tmp_path, rows)


def test_carried_columns_and_a_system_message_come_along(arguments, tmp_path, rows):
    (tmp_path / "system.md").write_text("Be brief about {{ name }}.")
    assert main(arguments(carry="name", system=tmp_path / "system.md")) == 0
    found = {row["id"]: row for row in pq.read_table(tmp_path / "out/answers.parquet").to_pylist()}
    assert all(found[row["id"]]["name"] == row["name"] for row in rows)
    first = answer_for(
        {
            "model": MODEL,
            "messages": [
                {"role": "system", "content": "Be brief about package 0."},
                {"role": "user", "content": f"Which section?\npackage 0: {rows[0]['text']}"},
            ],
            "max_tokens": 200,
        }
    )
    assert found[0]["answer"] == first.content


def test_the_whole_debian_archive_comes_back_row_for_row(arguments, tmp_path, emulator):
    if not PACKAGES.exists():
        pytest.skip(f"{PACKAGES.name} is not in ../shared/data: the test on 63,440 real rows needs it")
    (tmp_path / "prompt.md").write_text("{{ package }} {{ version }}: {{ description }}")
    options = {"in": PACKAGES, "key": "package,version", "params": '{"max_tokens": 20}', "max-failed-ratio": 1}
    assert main(arguments(**options)) == 0
    table = pq.read_table(PACKAGES, columns=["package", "version", "description"]).to_pylist()
    found = pq.read_table(tmp_path / "out/answers.parquet", columns=["package", "version", "answer"]).to_pylist()
    answers = {(row["package"], row["version"]): row["answer"] for row in found}
    assert len(found) == len(answers) == len(table) == 63_440
    for row in table[::50]:
        text = f"{row['package']} {row['version']}: {row['description'] or ''}"
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 20}
        assert answers[row["package"], row["version"]] == answer_for(body).content
    ledger = emulator.ledger(summary=True)
    assert ledger["batches_created"] >= 2
    assert (
        ledger["requests_billed"]
        == json.loads(next((tmp_path / "staging").rglob("plan.1.json")).read_text())["requests"]
    )


@pytest.mark.parametrize(("option", "words"), [("max-cost", "over the job's budget of 1 VND"), ("max-rows", "1 rows")])
def test_a_budget_on_the_command_line_sends_nothing(arguments, emulator, tmp_path, capsys, option, words):
    (tmp_path / "prices.json").write_text(json.dumps({MODEL: [10_000_000, 10_000_000]}))
    assert main(arguments(**{option: 1, "prices": tmp_path / "prices.json", "canary": 0})) == 1
    assert words in capsys.readouterr().err
    assert emulator.ledger()["files_uploaded"] == 0


def test_a_preview_says_that_the_run_would_be_refused(tmp_path, rows, capsys):
    (tmp_path / "prompt.md").write_text("{{ text }}")
    (tmp_path / "prices.json").write_text(json.dumps({MODEL: [10_000_000, 10_000_000]}))
    options = ["preview", "--in", str(tmp_path / "rows.parquet"), "--key", "id", "--model", MODEL]
    options += ["--prompt", str(tmp_path / "prompt.md"), "--prices", str(tmp_path / "prices.json")]
    options += ["--params", '{"max_tokens": 5}', "--requests", "0"]
    assert main([*options, "--max-cost", "1"]) == 0
    assert "This run would be refused: estimate: " in (said := capsys.readouterr().out)
    assert "over the job's budget of 1 VND (--max-cost)" in said
    assert main([*options, "--max-cost", "1e9"]) == 0
    assert "within the job's budget" in capsys.readouterr().out
    assert main(options) == 0
    assert "budget" not in capsys.readouterr().out


def test_without_credit_the_command_says_how_to_go_on_and_then_does(arguments, emulator, capsys):
    emulator.faults([{"endpoint": "POST /batches", "kind": "status", "status": 402, "message": "no credit"}])
    assert main(arguments(canary=0)) == 1
    assert "no credit" in (said := capsys.readouterr().err)
    assert "Top up the account first" in said
    assert "start the same command again to go on" in said
    assert main(arguments(canary=0)) == 0
    assert set(emulator.ledger()["requests"].values()) == {1}


def test_limits_are_for_all_runs_of_one_staging_folder(arguments, tmp_path, emulator, capsys):
    limits = {"max-batches-in-flight": 1, "max-enqueued-tokens": 10**6}
    assert main(arguments(**limits)) == 0
    (line,) = (tmp_path / "staging" / ".line").iterdir()
    assert json.loads((line / "in-1.json").read_text())["tokens"] > 0
    assert main(arguments(**{"max-batches-in-flight": "few"})) == 1
    assert (
        "greennode-batch: --max-batches-in-flight is 'few'; it is a whole number, 1 or more" in capsys.readouterr().err
    )
