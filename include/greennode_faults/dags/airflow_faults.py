"""The DAGs of the fault matrix: two shards over the table of the stage. They differ in what they ask and how they pay.

`faults` is the plain one; `faults_canary` tries its first request live; `faults_aside` has separate tables and a
separate server, so that cases that take minutes can run beside the other two; `faults_finish_by` has these as well, and
has to finish by a time; `faults_whole_job` is all of it as one task, and `faults_function` over a function's rows.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import DAG, task

from greennode_airflow.operators import GreenNodeBatchOperator
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.live_mode import Live
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget
from greennode_faults.stage import FINISH_BY, MODEL, Label

JOB = BatchJob(
    name="faults",
    source=SqlSource(conn_id="warehouse", sql="SELECT id, text FROM faults_in ORDER BY id"),
    target=SqlTarget(conn_id="warehouse", table="faults_out"),
    key="id",
    model=MODEL,
    prompt="{{ text }}",
    answer=Label,
    params={"max_tokens": 300},
    canary=0,
    # One row has no request; any other row without an answer fails the run.
    max_failed_ratio=0.03,
    max_shard_requests=17,
)
ASIDE = replace(
    JOB,
    name="faults_aside",
    source=SqlSource(conn_id="warehouse", sql="SELECT id, text FROM faults_aside_in ORDER BY id"),
    target=SqlTarget(conn_id="warehouse", table="faults_aside_out"),
    conn_id="greennode_aside",
)
# As many retries as the pipeline's default, but with short delays.
QUICKLY = {"retries": 5, "retry_delay": timedelta(seconds=1)}

faults = batch_table(JOB, default_args=QUICKLY)
faults_canary = batch_table(replace(JOB, name="faults_canary", canary=1), default_args=QUICKLY)
faults_aside = batch_table(ASIDE, default_args=QUICKLY)
faults_finish_by = batch_table(
    replace(ASIDE, name="faults_finish_by", live=Live(finish_by=FINISH_BY)), default_args=QUICKLY
)

with DAG("faults_whole_job", schedule=None, default_args=QUICKLY):
    GreenNodeBatchOperator(task_id="whole_job", job=JOB)

OF_JOB = ("key", "model", "prompt", "answer", "params", "canary", "max_failed_ratio", "max_shard_requests", "target")

with DAG("faults_function", schedule=None, default_args=QUICKLY):

    @task.greennode_batch(task_id="whole_job", **{name: getattr(JOB, name) for name in OF_JOB})
    def read_rows() -> list[dict[str, object]]:
        """The rows of the stage's table."""
        found = PostgresHook("warehouse").get_records("SELECT id, text FROM faults_in ORDER BY id")
        return [{"id": key, "text": text} for key, text in found]

    read_rows()
