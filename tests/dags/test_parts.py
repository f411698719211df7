"""A job whose source is read in parts, by tasks side by side."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException

from greennode_emulator.server import RunningEmulator

RunSteps = Callable[..., dict[str, list[Any]]]
OwnDag = Callable[[str], Any]
READ = {"read_part", "build_requests"}

JOB = """
from airflow.sdk import DAG
from greennode_airflow.pipeline import batch_table, batch_table_group
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import SqlTarget
from greennode_batch.job.sources import FileSource, SqlSource

JOB = BatchJob(
    name="own",
    source={source},
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{{{ body }}}}",
    target=SqlTarget(conn_id="warehouse", table="answers"),
    max_shard_requests=4,
    partitions={partitions},
    {more}
)
"""
TEXTS = "SELECT id, body FROM texts"
OWN = "WHERE mod(id, {{ partitions }}) = {{ partition }}"


def text_of(source: str, *, partitions: int = 3, more: str = "", dag: str = "dag = batch_table(JOB)") -> str:
    return JOB.format(source=source, partitions=partitions, more=more) + dag


def sql_source(sql: str = TEXTS) -> str:
    return f"SqlSource(conn_id='warehouse', sql={sql!r})"


@pytest.fixture
def texts(warehouse: psycopg.Connection) -> psycopg.Connection:
    """A table of 20 rows with 5 distinct texts."""
    warehouse.execute("CREATE TABLE texts AS SELECT i AS id, 'text ' || i % 5 AS body FROM generate_series(1, 20) i")
    return warehouse


def statuses(warehouse: psycopg.Connection) -> list[tuple[int, str]]:
    return warehouse.execute("SELECT id, status FROM answers ORDER BY id").fetchall()


ALL = [(number, "succeeded") for number in range(1, 21)]


@pytest.mark.parametrize(("sql", "partitions"), [(TEXTS, 3), (f"{TEXTS} {OWN}", 3), (f"{TEXTS} {OWN}", 1)])
def test_every_row_is_answered_once_and_equal_requests_of_all_parts_are_paid_once(
    sql: str, partitions: int, run_own: RunSteps, texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    results = run_own(text_of(sql_source(sql), partitions=partitions))
    assert len(results.get("read_part", ())) == (partitions if partitions > 1 else 0)
    assert statuses(texts) == ALL
    requests = emulator.ledger()["requests"]
    assert (len(requests), set(requests.values())) == (5, {1})


def test_files_are_dealt_out_and_a_part_may_have_none(
    run_own: RunSteps, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    (folder := tmp_path / "rows").mkdir()
    for name, first in (("a", 1), ("b", 11)):
        rows = "".join(f"{number},text {number}\n" for number in range(first, first + 10))
        (folder / f"{name}.csv").write_text(f"id,body\n{rows}")
    run_own(text_of(f"FileSource(path='{folder}/', types={{'id': 'integer'}})"))
    assert statuses(warehouse) == ALL


def test_a_path_may_name_its_part(run_own: RunSteps, warehouse: psycopg.Connection, tmp_path: Path) -> None:
    for part in range(2):
        rows = "".join(f"{number},text\n" for number in range(1, 21) if number % 2 == part)
        (tmp_path / f"{part}-of-2.csv").write_text(f"id,body\n{rows}")
    path = f"{tmp_path}/{{{{ partition }}}}-of-{{{{ partitions }}}}.csv"
    run_own(text_of(f"FileSource(path={path!r}, types={{'id': 'integer'}})", partitions=2))
    assert statuses(warehouse) == ALL


def test_a_query_may_lie_in_a_file_and_name_its_part_there(
    run_own: RunSteps, texts: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "texts.sql").write_text(f"{TEXTS}\n{{% if partitions > 1 %}} {OWN} {{% endif %}}\n")
    monkeypatch.setattr("greennode_batch.job.texts.read_job_text.__kwdefaults__", {"folder": tmp_path})
    run_own(text_of(sql_source("texts.sql")))
    assert statuses(texts) == ALL


def test_a_query_may_name_its_part_in_a_file_that_it_includes(
    run_own: RunSteps, texts: psycopg.Connection, tmp_path: Path
) -> None:
    (tmp_path / "own_dags").mkdir()
    (tmp_path / "own_dags" / "part.sql").write_text(OWN)
    run_own(text_of(sql_source(f"{TEXTS} {{% include 'part.sql' %}} ORDER BY id")))
    assert statuses(texts) == ALL


def test_a_group_in_a_dag_of_ones_own_reads_in_parts_as_well(
    run_file: Callable[[str], dict[str, str]], texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    ended = run_file(text_of(sql_source(), dag='\nwith DAG("own") as dag:\n    batch_table_group(JOB)\n'))
    assert (ended[""], ended["own.read_part"]) == ("success", "success")
    assert statuses(texts) == ALL
    requests = emulator.ledger()["requests"]
    assert (len(requests), set(requests.values())) == (5, {1})


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (sql_source(f"{TEXTS} WHERE id > {{{{ partition }}}}"), "this key comes twice"),
        (sql_source("SELECT NULLIF(id, 7) AS id, body FROM texts"), "row id = NULL: a key may not be NULL"),
        ("SqlSource(conn_id='lite', sql='SELECT 1 AS id, 2 AS body')", "add a condition such as"),
    ],
)
def test_what_cannot_be_read_in_parts_fails_by_name_before_anything_is_sent(
    source: str,
    words: str,
    run_own: RunSteps,
    texts: psycopg.Connection,
    emulator: RunningEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LITE", "sqlite:///:memory:")
    with pytest.raises(AirflowFailException, match=words):
        run_own(text_of(source), only=READ)
    assert emulator.ledger(summary=True)["files_uploaded"] == 0


def test_a_dry_run_reads_the_parts_and_sends_nothing(
    run_own: RunSteps, texts: psycopg.Connection, emulator: RunningEmulator, capfd: pytest.CaptureFixture[str]
) -> None:
    results = run_own(text_of(sql_source()), only=READ, conf={"dry_run": True})
    assert results["build_requests"] == [[]]
    assert "20 rows: 5 requests" in capfd.readouterr().out
    ledger = emulator.ledger(summary=True)
    assert (ledger["files_uploaded"], ledger["requests_billed"]) == (0, 0)


def test_cleared_with_its_parts_a_build_picks_up_new_rows_and_keeps_what_was_sent(
    run_own: RunSteps, texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    job = text_of(sql_source(), more="refresh='all',")
    run_own(job)
    texts.execute("INSERT INTO texts VALUES (21, 'new'), (22, 'new'), (23, 'text 1')")
    run_own(job)
    assert statuses(texts) == [*ALL, *((number, "succeeded") for number in (21, 22, 23))]
    requests = emulator.ledger()["requests"]
    assert (len(requests), set(requests.values())) == (6, {1})
    assert texts.execute("SELECT count(DISTINCT run_id) FROM answers").fetchone() == (1,)


def test_cleared_alone_a_build_takes_the_parts_that_are_there_until_the_run_is_cleaned_up(
    run_own: RunSteps, own_dag: OwnDag, texts: psycopg.Connection, emulator: RunningEmulator, deployment: Path
) -> None:
    job = text_of(sql_source())
    # The run is not cleaned up: its report does not run.
    run_own(job, only=READ)
    texts.execute("INSERT INTO texts VALUES (21, 'not read')")
    run_own(job, only=set(own_dag(job).task_ids) - {"read_part"})
    assert statuses(texts) == ALL
    assert not list(deployment.rglob("parts/*/*"))
    with pytest.raises(AirflowFailException, match=re.escape("part(s) 0, 1, 2 of 3 are not in")):
        run_own(job, only={"build_requests"})
    requests = emulator.ledger()["requests"]
    assert (len(requests), set(requests.values())) == (5, {1})
