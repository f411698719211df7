"""Where a job's answers go in Airflow: tables, datasets, and both at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.dataset as ds
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowFailException

from greennode_emulator.server import RunningEmulator

RunFile = Callable[[str], dict[str, str]]
RunSteps = Callable[..., dict[str, list[Any]]]

JOB = """
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import FileTarget, SqlTarget
from greennode_batch.job.sources import SqlSource

JOB = BatchJob(
    name="own",
    source=SqlSource(conn_id="warehouse", sql="SELECT i AS id, 'row ' || i AS body FROM generate_series(1, 5) i"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{{{ body }}}}",
    max_shard_requests=2,
    target={target},
)

dag = batch_table(JOB)
"""


def read(folder: Path) -> dict[int, tuple[str, str]]:
    rows = ds.dataset(folder, partitioning="hive").to_table().to_pylist()
    assert len(rows) == len({row["id"] for row in rows})
    return {row["id"]: (row["status"], row["answer"]) for row in rows}


def test_a_table_and_a_dataset_get_the_same_rows(
    run_file: RunFile, warehouse: psycopg.Connection, emulator: RunningEmulator, tmp_path: Path
) -> None:
    dataset = f"FileTarget(path='{tmp_path}/answers/{{{{ dag.dag_id }}}}', partition_by=('status',))"
    table = "SqlTarget(conn_id='warehouse', table='answers', runs_table='greennode_runs')"
    ended = run_file(JOB.format(target=f"({table}, {dataset})"))
    assert ended[""] == "success"
    rows = warehouse.execute("SELECT id, status, answer FROM answers").fetchall()
    assert {number: (status, answer) for number, status, answer in rows} == read(tmp_path / "answers/own")
    assert len(rows) == 5
    ledger = emulator.ledger()
    assert set(ledger["requests"].values()) == {1}
    # The job has no price, so its tokens are known and no cost is.
    assert warehouse.execute(
        "SELECT dag_id, job, model, succeeded, prompt_tokens, completion_tokens, cost FROM greennode_runs"
    ).fetchall() == [
        ("own", "own", "google/gemma-4-31b-it", 5, ledger["prompt_tokens"], ledger["completion_tokens"], None)
    ]


def test_a_dataset_alone_is_written_below_a_url(run_own: RunSteps, tmp_path: Path) -> None:
    run_own(JOB.format(target=f"FileTarget(path='file://{tmp_path}/answers/')"))
    assert set(read(tmp_path / "answers")) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("answers", "target answers: is relative"),
        ("{tmp}/{{{{ '' }}}}own.py", "the path is a file, and a dataset needs a folder"),
        ("{tmp}/{{{{ 'x.parquet' }}}}", "x.parquet: in Airflow, shards are written side by side"),
    ],
)
def test_a_path_that_cannot_be_a_dataset_fails_before_anything_is_sent(
    path: str,
    words: str,
    run_own: RunSteps,
    emulator: RunningEmulator,
    tmp_path: Path,
) -> None:
    job = JOB.format(target=f"FileTarget(path={path.format(tmp=f'{tmp_path}/own_dags')!r})")
    with pytest.raises(AirflowFailException, match=re.escape(words)):
        run_own(job, only={"build_requests"})
    ledger = emulator.ledger(summary=True)
    assert (ledger["files_uploaded"], ledger["batches_created"]) == (0, 0)


def test_a_single_file_is_refused_when_the_dag_is_read(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(JOB.format(target="FileTarget(path='/data/answers.parquet')"))
    (words,) = DagBag(str(tmp_path)).import_errors.values()
    assert "target /data/answers.parquet: in Airflow, shards are written side by side into a folder" in words


DATASET = "FileTarget(path='{tmp_path}/answers')"
TABLE, ANOTHER = (f"SqlTarget(conn_id='warehouse', table='{name}')" for name in ("answers", "others"))


@pytest.mark.parametrize(
    ("first", "both"), [(DATASET, f"({TABLE}, {DATASET})"), (TABLE, f"({TABLE}, {ANOTHER})")], ids=["dataset", "table"]
)
def test_a_target_that_is_added_gets_the_answers_of_the_other_at_no_cost(
    first: str,
    both: str,
    run_own: RunSteps,
    run_file: RunFile,
    warehouse: psycopg.Connection,
    emulator: RunningEmulator,
    tmp_path: Path,
) -> None:
    def rows(table: str) -> dict[int, tuple[str, str]]:
        found = warehouse.execute(f"SELECT id, status, answer FROM {table}").fetchall()
        return {number: (status, answer) for number, status, answer in found}

    first, both = first.format(tmp_path=tmp_path), both.format(tmp_path=tmp_path)
    run_own(JOB.format(target=first), run_id="first")
    billed = sum(emulator.ledger()["requests"].values())
    (second,) = run_own(JOB.format(target=first), run_id="second")["report"]
    assert (second["rows"], second["unchanged"]) == (0, 5)
    assert run_file(JOB.format(target=both))[""] == "success"
    assert rows("answers") == (read(tmp_path / "answers") if "FileTarget" in first else rows("others"))
    assert len(rows("answers")) == 5
    assert sum(emulator.ledger()["requests"].values()) == billed


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, answer text", "identity column GENERATED ALWAYS"),
        ("id bigint PRIMARY KEY, answer text NOT NULL", "answer must not be NULL"),
        ("id numeric(3, -1) PRIMARY KEY, answer text", "takes different keys of the source for one: "),
        ("id smallint PRIMARY KEY CHECK (id < 4), answer text", "check"),
        ("id bigint PRIMARY KEY, answer text CHECK (answer = '')", None),
    ],
)
def test_a_table_that_refuses_the_rows_fails_before_anything_is_sent(
    run_own: RunSteps, warehouse: psycopg.Connection, emulator: RunningEmulator, table: str, words: str | None
) -> None:
    warehouse.execute(f"CREATE TABLE answers ({table})")
    warehouse.commit()
    target = "SqlTarget(conn_id='warehouse', table='answers', add_columns=True)"
    if words is None:  # only the answers show it
        with pytest.raises(AirflowFailException, match=r"(?s)violates check constraint.*clear join_results"):
            run_own(JOB.format(target=target))
        return
    with pytest.raises(AirflowFailException, match=words):
        run_own(JOB.format(target=target), only={"build_requests"})
    assert emulator.ledger(summary=True)["batches_created"] == 0


def test_rows_whose_keys_the_table_rounds_are_found_again_and_add_up(
    run_own: RunSteps, warehouse: psycopg.Connection, emulator: RunningEmulator
) -> None:
    columns = "answer text, status text, error text, model text, custom_id text, run_id text"
    warehouse.execute(f"CREATE TABLE answers (id numeric(10,2), part char(6), {columns}, PRIMARY KEY (id, part))")
    warehouse.commit()
    job = JOB.format(target="SqlTarget(conn_id='warehouse', table='answers', add_columns=True)")
    job = job.replace("SELECT i AS id", "SELECT i + 0.001 AS id, 'p' || i || ' ' AS part")
    job = job.replace('key="id"', 'key=("id", "part")')
    (first,) = run_own(job, run_id="first")["report"]
    assert (first["rows"], first["balanced"]) == (5, True)
    billed = sum(emulator.ledger()["requests"].values())
    (second,) = run_own(job, run_id="second")["report"]
    assert (second["rows"], second["unchanged"]) == (0, 5)
    assert sum(emulator.ledger()["requests"].values()) == billed
