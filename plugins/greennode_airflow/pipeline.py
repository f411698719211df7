"""The pipeline: a job's tasks wired once, mapped over its shards.

build_requests ─► attempt_1 (mapped over shards) ─► join_results (mapped over shards) ─► report
                  submit_batch ─► wait_for_batch ─► collect_results
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from airflow.sdk import DAG, Param, TaskGroup, TriggerRule, task_group

from greennode_airflow.operators import (
    GreenNodeBuildRequestsOperator,
    GreenNodeCollectResultsOperator,
    GreenNodeJoinResultsOperator,
    GreenNodeReportOperator,
    GreenNodeSubmitBatchOperator,
)
from greennode_airflow.sensors import GreenNodeBatchSensor
from greennode_batch.errors import ConfigError
from greennode_batch.job import BatchJob, SqlTarget


def batch_table(job: BatchJob, **dag_arguments: Any) -> DAG:
    """Make the DAG that runs a job.

    dag_arguments: of the DAG. Its id is the job's name unless they say otherwise; one run at a time, no schedule
    and two retries a task are the defaults. A retry pays nothing: every step picks up where it was.
    """
    defaults: dict[str, Any] = {
        "dag_id": job.name,
        "schedule": None,
        "catchup": False,
        # Two runs at once would write the same target rows in no certain order.
        "max_active_runs": 1,
        "default_args": {"retries": 2, "retry_delay": timedelta(seconds=30)},
        "tags": ["greennode"],
        "params": {
            "dry_run": Param(
                default=False,
                type="boolean",
                title="Dry run",
                description="Build the requests and show the first and an estimate in the log of build_requests; "
                "send nothing.",
            ),
        },
    }
    with DAG(**{**defaults, **dag_arguments}) as dag:  # noqa: AIR002 - the schedule is among the defaults
        _wire(job)
    return dag


def batch_table_group(job: BatchJob, **group_arguments: Any) -> TaskGroup:
    """The same tasks as one task group, as a step of a larger DAG; call it inside of that DAG."""
    with TaskGroup(**{"group_id": job.name, **group_arguments}) as group:
        _wire(job)
    return group


def _wire(job: BatchJob) -> None:
    target = job.target
    if not isinstance(target, SqlTarget):
        raise ConfigError(f"job {job.name}: in Airflow, target is a SqlTarget")
    build = GreenNodeBuildRequestsOperator(task_id="build_requests", job=job)

    @task_group(group_id="attempt_1")
    def attempt(shard: str) -> None:
        submit = GreenNodeSubmitBatchOperator(
            task_id="submit_batch", shard=shard, greennode_conn_id=job.conn_id, on_ambiguous=job.on_ambiguous
        )
        wait = GreenNodeBatchSensor(
            task_id="wait_for_batch",
            batch_id=cast("str", submit.output),
            greennode_conn_id=job.conn_id,
            on_kill=job.on_kill,
            cancel_at_deadline=True,
            accept_any_end=True,
        )
        collect = GreenNodeCollectResultsOperator(
            task_id="collect_results", shard=shard, answer=job.answer, greennode_conn_id=job.conn_id
        )
        submit >> wait >> collect

    # Joins and the report run whatever became of a shard: its neighbours' rows are written all the same.
    join = GreenNodeJoinResultsOperator.partial(
        task_id="join_results",
        target=target,
        key=job.target_key,
        answer=job.answer,
        trigger_rule=TriggerRule.ALL_DONE,
    ).expand(shard=build.output)
    account = GreenNodeReportOperator(task_id="report", job=job, trigger_rule=TriggerRule.ALL_DONE)
    attempt.expand(shard=build.output) >> join >> account
