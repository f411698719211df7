"""What a task behind a job's pipeline learns of its run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from airflow.sdk import DAG

from greennode_airflow.run_result import run_result
from greennode_batch.errors import ConfigError
from greennode_emulator.server import RunningEmulator
from greennode_local.samples import SAMPLES, data_of, load

RunSteps = Callable[..., dict[str, list[Any]]]
OwnDag = Callable[[str], Any]

TWO_JOBS = """
from airflow.sdk import DAG, ObjectStoragePath, task
from greennode_airflow.pipeline import batch_table_group
from greennode_airflow.run_result import run_result
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import FileTarget, SqlTarget

def job(name):
    return BatchJob(
        name=name,
        source=SqlSource(conn_id="warehouse", sql="SELECT id, body FROM texts"),
        key="id",
        model="google/gemma-4-31b-it",
        prompt=name + " {{{{ body }}}}",
        target=(
            SqlTarget(conn_id="warehouse", table="answers_of_" + name),
            FileTarget(path="{folder}/" + name + "/{{{{ run_id }}}}"),
        ),
        prices={{"google/gemma-4-31b-it": [1000, 1000]}},
        max_failed_ratio=1,
    )

with DAG("own", schedule=None) as dag:

    @task
    def after(group):
        done = run_result(group)
        return {{
            "answered": done.report.succeeded,
            "failed": done.failed,
            "cost": done.report.cost,
            "where": [done.answered_rows, done.failed_rows],
            "table": done.targets[0].table,
            "path": done.targets[1].path,
            "report": (ObjectStoragePath(done.folder) / "report.json").exists(),
        }}

    batch_table_group(job("one"), group_id="first") >> after.override(task_id="after_one")("first")
    batch_table_group(job("two")) >> after.override(task_id="after_two")("two")
"""


def test_a_task_behind_each_of_two_groups_learns_counts_cost_and_where_the_rows_are(
    run_steps: RunSteps, own_dag: OwnDag, warehouse: psycopg.Connection, emulator: RunningEmulator, tmp_path: Any
) -> None:
    warehouse.execute("CREATE TABLE texts AS SELECT i AS id, 'text ' || i AS body FROM generate_series(1, 6) i")
    emulator.faults([{"kind": "line_error", "status": 400, "count": 2, "batches": 1}])
    text = TWO_JOBS.format(folder=tmp_path / "data")
    done = run_steps(own_dag(text))
    for name in ("one", "two"):
        (result,) = done[f"after_{name}"]
        counts = [
            warehouse.execute(f"SELECT count(*) FROM {result['table']} WHERE {where}").fetchone()[0]
            for where in result["where"]
        ]
        assert counts == [result["answered"], result["failed"]]
        assert sum(counts) == 6
        assert result["cost"] > 0
        assert result["report"]
        assert result["path"] == f"{tmp_path}/data/{name}/manual__1"


def test_the_example_hands_its_drafts_on(
    run_steps: RunSteps, read_dag: Callable[[str], DAG], warehouse: psycopg.Connection
) -> None:
    sample = SAMPLES["ticket_replies"]
    load(warehouse, sample, data_of(sample, None))
    (result,) = run_steps(read_dag("ticket_replies"))["hand_over"]
    drafts = warehouse.execute(f"SELECT count(*) FROM ticket_replies WHERE {result['drafts']}").fetchone()
    mails = warehouse.execute("SELECT count(*) FROM support_tickets WHERE channel = 'email'").fetchone()
    assert drafts == mails
    assert result["summary"].startswith(f"{mails[0]} rows ")


def test_where_it_is_not_plain_whose_result_is_meant_the_groups_are_named(own_dag: OwnDag, tmp_path: Any) -> None:
    context = {"dag": own_dag(TWO_JOBS.format(folder=tmp_path))}
    with pytest.raises(ConfigError, match=r"several jobs: .* there are 'first', 'two'"):
        run_result(context=context)
    with pytest.raises(ConfigError, match=r"no group 'three'"):
        run_result("three", context)


def test_a_run_without_a_report_has_no_result(run_steps: RunSteps, own_dag: OwnDag, tmp_path: Any) -> None:
    class Nothing:
        def xcom_pull(self, **_: Any) -> None:
            return None

    context = {"dag": own_dag(TWO_JOBS.format(folder=tmp_path)), "ti": Nothing()}
    with pytest.raises(ConfigError, match=r"two\.report has made no report in this run: a dry run"):
        run_result("two", context)
