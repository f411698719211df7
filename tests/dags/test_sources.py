"""Where a job's rows come from in Airflow: queries on any SQL connection, and files."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException

from greennode_emulator.server import RunningEmulator

RunFile = Callable[[str], dict[str, str]]
RunSteps = Callable[..., dict[str, list[Any]]]

JOB = """
import datetime

from airflow.sdk import Param
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import SqlTarget
from greennode_batch.job.sources import FileSource, SqlSource

JOB = BatchJob(
    name="own",
    source={source},
    key={key},
    model="google/gemma-4-31b-it",
    prompt={prompt},
    carry={carry},
    target=SqlTarget(conn_id="warehouse", table="answers"),
)

dag = batch_table(
    JOB,
    start_date=datetime.datetime(2026, 1, 31, tzinfo=datetime.timezone.utc),
    params={{"tenant": Param("o'neill", type="string")}},
)
"""


def text_of(source: str, *, key: str = "'id'", prompt: str = "'{{ text }}'", carry: str = "('text',)") -> str:
    return JOB.format(source=source, key=key, prompt=prompt, carry=carry)


def test_a_query_is_rendered_with_the_run_its_interval_and_its_params(
    run_file: RunFile, warehouse: psycopg.Connection
) -> None:
    sql = (
        "SELECT 1 AS id, '{{ params.tenant | replace(\"'\", \"''\") }}' AS text, '{{ dag.dag_id }}' AS dag_id, "
        "'{{ run_id }}' AS run, '{{ data_interval_end or logical_date or run_after }}'::timestamptz AS until"
    )
    ended = run_file(
        text_of(f"SqlSource(conn_id='warehouse', sql={sql!r})", carry="('text', 'dag_id', 'run', 'until')")
    )
    assert ended[""] == "success"
    ((text, dag_id, run, until, run_id),) = warehouse.execute("SELECT text, dag_id, run, until, run_id FROM answers")
    assert (text, dag_id, run) == ("o'neill", "own", run_id)
    assert until is not None


def test_files_are_named_by_a_path_that_is_rendered(
    run_own: RunSteps, warehouse: psycopg.Connection, emulator: RunningEmulator, tmp_path: Path
) -> None:
    for name, content in (("own/o'neill/a.csv", "id,text,image\n007,one,\n008,two,\n"), ("own/else/b.csv", "id\n9\n")):
        (path := tmp_path / "rows" / name).parent.mkdir(parents=True)
        path.write_text(content)
    path = f"{tmp_path}/rows/{{{{ dag.dag_id }}}}/{{{{ params.tenant }}}}/"
    run_own(text_of(f"FileSource(path={path!r})"))
    rows = warehouse.execute("SELECT id, text, status FROM answers ORDER BY id").fetchall()
    assert rows == [("007", "one", "succeeded"), ("008", "two", "succeeded")]
    assert set(emulator.ledger()["requests"].values()) == {1}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("FileSource(path='rows.csv')", "source rows.csv: is relative, so each worker would read another file"),
        ("FileSource(path='/nowhere/{{ params.tenant }}.csv')", "no such file or folder"),
        ("SqlSource(conn_id='greennode_default', sql='SELECT 1')", "gives no SQL connection"),
        ("SqlSource(conn_id='warehouse', sql='SELECT id FROM nowhere')", 'relation "nowhere" does not exist'),
    ],
)
def test_a_source_that_cannot_be_read_fails_at_once_with_its_name(
    source: str, words: str, run_own: RunSteps, emulator: RunningEmulator
) -> None:
    with pytest.raises(AirflowFailException, match=re.escape(words)):
        run_own(text_of(source), only={"build_requests"})
    assert emulator.ledger(summary=True)["files_uploaded"] == 0


def test_a_key_may_have_several_columns_of_any_type(run_own: RunSteps, warehouse: psycopg.Connection) -> None:
    sql = (
        "SELECT 9223372036854775807 AS n, timestamptz '2026-01-31 12:00+02' AS at, 'text' AS text "
        "UNION ALL SELECT 1, '2026-01-31 12:00+02', 'more'"
    )
    run_own(text_of(f'SqlSource(conn_id="warehouse", sql="""{sql}""")', key="('n', 'at')"))
    rows = warehouse.execute("SELECT n, at, text, status FROM answers ORDER BY n").fetchall()
    moment = datetime.datetime(2026, 1, 31, 10, tzinfo=datetime.UTC)
    assert rows == [(1, moment, "more", "succeeded"), (2**63 - 1, moment, "text", "succeeded")]


BY_PARTITION = """
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import FileTarget, SqlTarget

dag = batch_table(
    BatchJob(
        name="own",
        source=SqlSource(
            conn_id="warehouse",
            sql="SELECT 1 AS id, '{{ partition_key }}' AS body WHERE '{{ partition_key }}' = %(day)s",
            parameters={"day": "{{ partition_key }}"},
        ),
        key="id",
        carry=("body",),
        model="google/gemma-4-31b-it",
        prompt="{{ body }}",
        target=(
            SqlTarget(conn_id="warehouse", table="answers_{{ partition_key }}"),
            FileTarget(path="FOLDER/day={{ partition_key }}"),
        ),
        canary=0,
    )
)
"""


def test_a_partition_has_its_own_query_table_and_folder(
    run_own: RunSteps, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    text = BY_PARTITION.replace("FOLDER", str(tmp_path / "answers"))
    for day in ("2026-03-01", "2026-03-02"):
        run_own(text, run_id=f"scheduled__{day}", values={"partition_key": day, "partition_date": None})
        assert warehouse.execute(f'SELECT id, body, status FROM "answers_{day}"').fetchall() == [(1, day, "succeeded")]
        assert list((tmp_path / "answers" / f"day={day}").glob("*.parquet"))


def test_a_run_without_a_partition_fails_before_anything_is_sent(
    run_own: RunSteps, emulator: RunningEmulator, tmp_path: Path
) -> None:
    text = BY_PARTITION.replace("FOLDER", str(tmp_path / "answers"))
    with pytest.raises(AirflowFailException, match="uses partition_key, which this run does not have: trigger it with"):
        run_own(text, only={"build_requests"}, values={"partition_key": None, "partition_date": None})
    assert emulator.ledger(summary=True)["files_uploaded"] == 0
