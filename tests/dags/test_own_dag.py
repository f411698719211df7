"""The parts in a DAG of somebody's own: single operators, and a job as a step of a larger pipeline."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest
from airflow.dag_processing.dagbag import DagBag
from upath import UPath

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.errors import NotFoundError
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import read_receipt
from greennode_emulator.server import RunningEmulator

RunFile = Callable[[str], dict[str, str]]
MODEL = "google/gemma-4-31b-it"

SINGLE_OPERATORS = """
from airflow.sdk import DAG
from greennode_airflow.operators import (
    GreenNodeCancelBatchOperator,
    GreenNodeCollectResultsOperator,
    GreenNodeDeleteBatchOperator,
    GreenNodeSubmitBatchOperator,
)
from greennode_airflow.sensors import GreenNodeBatchSensor

with DAG("own", schedule=None) as dag:
    submit = GreenNodeSubmitBatchOperator(task_id="submit", shard="{folder}")
    wait = GreenNodeBatchSensor(task_id="wait", batch_id=submit.output)
    collect = GreenNodeCollectResultsOperator(task_id="collect", shard="{folder}")
    cancel = GreenNodeCancelBatchOperator(task_id="cancel", batch_id=submit.output)
    delete = GreenNodeDeleteBatchOperator(task_id="delete", batch_id=submit.output)
    again = GreenNodeDeleteBatchOperator(task_id="again", batch_id=submit.output)
    submit >> wait >> collect >> cancel >> delete >> again
"""

A_DEADLINE = """
from datetime import timedelta
from airflow.sdk import DAG
from greennode_airflow.operators import GreenNodeCollectResultsOperator, GreenNodeSubmitBatchOperator
from greennode_airflow.sensors import GreenNodeBatchSensor

with DAG("own", schedule=None) as dag:
    submit = GreenNodeSubmitBatchOperator(task_id="submit", shard="{folder}")
    wait = GreenNodeBatchSensor(
        task_id="wait",
        shard="{folder}",
        deadline=timedelta(seconds=1),
    )
    collect = GreenNodeCollectResultsOperator(task_id="collect", shard="{folder}")
    submit >> wait >> collect
"""

A_LARGER_PIPELINE = """
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG
from greennode_airflow.pipeline import batch_table_group
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import SqlTarget
from greennode_batch.job.sources import SqlSource

JOB = BatchJob(
    name="ask",
    source=SqlSource(conn_id="warehouse", sql="SELECT id, body FROM fresh"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{{{ body }}}}",
    target=SqlTarget(conn_id="warehouse", table="answers"),
)

with DAG("own", schedule=None) as dag:
    before = SQLExecuteQueryOperator(
        task_id="before",
        conn_id="warehouse",
        sql="CREATE TABLE fresh AS SELECT i AS id, 'row ' || i AS body FROM generate_series(1, 5) i",
    )
    after = SQLExecuteQueryOperator(
        task_id="after",
        conn_id="warehouse",
        sql="CREATE TABLE counted AS SELECT count(*) FROM answers WHERE status = 'succeeded'",
    )
    before >> batch_table_group(JOB) >> after
"""


def test_each_operator_is_usable_alone(run_file: RunFile, emulator: RunningEmulator, tmp_path: Path) -> None:
    shard = tmp_path / "mine"
    shard.mkdir()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    (shard / "requests.jsonl").write_text(json.dumps({"custom_id": "one", "body": body}) + "\n")
    assert run_file(SINGLE_OPERATORS.format(folder=shard.as_uri()))[""] == "success"
    assert (shard / "results.parquet").exists()
    assert emulator.ledger()["requests"] == {"one": 1}
    batch_id = read_receipt(ShardFolder(UPath(shard))).batch_id
    with GreenNodeClient(emulator.base_url, emulator.api_key) as client, pytest.raises(NotFoundError):
        client.get_batch(batch_id)


def test_a_job_is_a_step_of_a_larger_pipeline(run_file: RunFile, warehouse: psycopg.Connection) -> None:
    assert run_file(A_LARGER_PIPELINE.format())[""] == "success"
    assert warehouse.execute("SELECT * FROM counted").fetchone() == (5,)


@pytest.mark.parametrize(("default_args", "retries"), [("", 5), ("default_args={'retries': 1}, ", 1)])
def test_tasks_of_a_group_are_retried_unless_the_dag_says_otherwise(
    default_args: str, retries: int, tmp_path: Path
) -> None:
    text = A_LARGER_PIPELINE.format().replace('DAG("own", ', f'DAG("own", {default_args}')
    (tmp_path / "own.py").write_text(text)
    dag = DagBag(str(tmp_path)).get_dag("own")
    assert dag is not None
    assert {task.retries for task in dag.tasks if task.task_id.startswith("ask.")} == {retries}


@pytest.mark.nightly
def test_a_batch_that_outlives_its_deadline_is_cancelled_and_its_finished_answers_are_kept(
    run_file: RunFile, emulator: RunningEmulator, tmp_path: Path
) -> None:
    shard = tmp_path / "mine"
    shard.mkdir()
    lines = [
        {"custom_id": f"r{n}", "body": {"model": MODEL, "messages": [{"role": "user", "content": f"row {n}"}]}}
        for n in range(20)
    ]
    (shard / "requests.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    emulator.faults([{"kind": "stuck", "status": "in_progress", "fraction": 0.5}])
    assert run_file(A_DEADLINE.format(folder=shard.as_uri()))[""] == "success"
    counts = Counter(pq.read_table(shard / "results.parquet")["status"].to_pylist())
    assert counts == {"succeeded": 10, "cancelled": 10}
    assert emulator.ledger(summary=True)["requests_billed"] == 10
