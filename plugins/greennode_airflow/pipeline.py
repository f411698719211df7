"""The pipeline: a job's tasks wired once, mapped over its shards.

build_requests ─► attempt_1 (mapped over shards) ─► build_retry_1 ─► attempt_2 ─► join_results (mapped)
                  submit_batch ─► wait_for_batch ─► collect_results              ─► report ─► clean_up

A job with partitions has read_part (mapped over them) before build_requests; a job whose budget has approve_over has
approve_spend after it.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, TaskGroup, TriggerRule, WeightRule, XComArg, task_group

from greennode_airflow.failures import RETRIES
from greennode_airflow.form import form_params
from greennode_airflow.operators import (
    GreenNodeBuildRequestsOperator,
    GreenNodeBuildRetryOperator,
    GreenNodeCleanUpOperator,
    GreenNodeCollectResultsOperator,
    GreenNodeJoinResultsOperator,
    GreenNodeReadPartOperator,
    GreenNodeReportOperator,
    GreenNodeSubmitBatchOperator,
)
from greennode_airflow.runtime.shard_groups import SHARD_NAME, Shards
from greennode_airflow.sensors import GreenNodeBatchSensor
from greennode_batch.job.batch_job import BatchJob

_HEADING = re.compile(r"\s*#[ \t]+([^:\n]+)(?::[ \t]*(.+))?")

# In a separate pool: tasks of shards that are sent get a slot before those of shards that are not.
_SUBMIT_WEIGHT, _WAIT_WEIGHT = 1, 10


def batch_table(job: BatchJob, *, strict_conf: bool = True, **dag_arguments: Any) -> DAG:
    """Make the DAG that runs a job.

    strict_conf: whether a key of a run's conf that is not a param of the DAG, such as `limt`, fails the run before
    anything is sent.

    dag_arguments: for the DAG. By default its id is the job's name, one run is active at a time, there is no schedule,
    and a task has five retries over a quarter of an hour. A retry costs nothing: every step continues where it was. The
    DAG's params appear in the trigger form beside the job's own fields (see form.py). The heading of its doc_md names
    and describes it: see `described`.
    """
    defaults: dict[str, Any] = {
        "dag_id": job.name,
        "schedule": None,
        "catchup": False,
        # Two runs at once would write the same target rows in no certain order.
        "max_active_runs": 1,
        "default_args": RETRIES,
        "tags": ["greennode"],
    }
    own = dag_arguments.pop("params", None)
    names = described(dag_arguments.get("doc_md"))
    # The schedule is among the defaults.
    with DAG(**{**defaults, **names, **dag_arguments, "params": form_params(job, own)}) as dag:  # noqa: AIR002
        _wire(job, strict_conf=strict_conf)
    return dag


def described(doc_md: str | None) -> dict[str, str]:
    """A DAG's arguments by its docstring: `DAG(…, **described(__doc__))`.

    Beside `doc_md` these come from its heading, `# Name: what it does`: the name that Airflow's pages show, and the
    description below it.
    """
    if not doc_md:
        return {}
    heading = _HEADING.match(doc_md)
    names = {"dag_display_name": heading[1], "description": heading[2]} if heading else {}
    return {"doc_md": doc_md, **{name: text.strip() for name, text in names.items() if text}}


def batch_table_group(job: BatchJob, **group_arguments: Any) -> TaskGroup:
    """The same tasks as one task group, as a step of a larger DAG; call it inside that DAG.

    They are retried as those of `batch_table` are, unless the DAG's or the group's default_args say otherwise. They
    use the DAG's params `limit`, `models`, `refresh`, `retry_final` and `dry_run`; form_params(job) makes them, and
    form_params of several jobs gives each a field for its models. A key of a run's conf that is not a param of the DAG
    fails the build if it is a misspelt form field; any other is assumed to be another task's.
    """
    with TaskGroup(**{"group_id": job.name, **group_arguments}) as group:
        group.default_args = {**RETRIES, **group.dag.default_args, **group.default_args}
        _wire(job, strict_conf=False)
    return group


def _wire(job: BatchJob, *, strict_conf: bool) -> None:
    build = GreenNodeBuildRequestsOperator(task_id="build_requests", job=job, strict_conf=strict_conf)
    if job.partitions > 1:
        parts = GreenNodeReadPartOperator.partial(task_id="read_part", job=job, strict_conf=strict_conf)
        parts.expand(partition=list(range(job.partitions))) >> build
    shards = _approved(job, build.output)
    ends = _attempt(job, 1, shards)
    for number in range(2, job.attempts + 1):
        # Whatever happened to one shard, the others' rows are still retried, joined and reported.
        retry = GreenNodeBuildRetryOperator(
            task_id=f"build_retry_{number - 1}", job=job, attempt=number, trigger_rule=TriggerRule.ALL_DONE
        )
        ends >> retry
        ends = _attempt(job, number, retry.output)
    join = GreenNodeJoinResultsOperator.partial(
        task_id="join_results",
        target=job.target,
        key=job.target_key,
        answer=job.answer,
        keep_reasoning=job.keep_reasoning,
        trigger_rule=TriggerRule.ALL_DONE,
        map_index_template=SHARD_NAME,
    ).expand(shard=shards)
    report = GreenNodeReportOperator(task_id="report", job=job, trigger_rule=TriggerRule.ALL_DONE)
    clean_up = GreenNodeCleanUpOperator(task_id="clean_up", job=job)
    # A teardown runs whatever happened to the tasks before it, even if a person has ended the run; and only it decides
    # how the run ended: from tasks that were skipped then, Airflow would make a success.
    ends >> join >> report >> clean_up.as_teardown(on_failure_fail_dagrun=True)


def _approved(job: BatchJob, shards: XComArg) -> XComArg:
    """The shards that may be sent: all, or those that a person has approved if the job's budget requires that."""
    if job.budget is None or job.budget.approve_over is None:
        return shards
    # Every task of the job parses this, few jobs have such a budget, and the module loads Airflow's parts to ask a
    # person.
    from greennode_airflow.operators.approve import GreenNodeApproveSpendOperator  # noqa: PLC0415

    return GreenNodeApproveSpendOperator(task_id="approve_spend", job=job, shards=shards).output


def _attempt(job: BatchJob, number: int, shards: XComArg) -> Any:
    """The tasks of one attempt, mapped over its shards; if there are none, they are skipped.

    An instance with several shards continues with those for which the task before it has not failed.
    """

    @task_group(group_id=f"attempt_{number}")
    def attempt(shard: Shards) -> None:
        submit = GreenNodeSubmitBatchOperator(
            task_id="submit_batch",
            shard=shard,
            greennode_conn_id=job.conn_id,
            on_ambiguous=job.on_ambiguous,
            map_index_template=SHARD_NAME,
            job=job,
            **_in_pool(job, _SUBMIT_WEIGHT),
        )
        wait = GreenNodeBatchSensor(
            task_id="wait_for_batch",
            shard=shard,
            greennode_conn_id=job.conn_id,
            deadline=timedelta(seconds=job.deadline_seconds),
            on_kill=job.on_kill,
            on_ambiguous=job.on_ambiguous,
            job=job,
            trigger_rule=TriggerRule.ALL_DONE,
            map_index_template=SHARD_NAME,
            **_in_pool(job, _WAIT_WEIGHT),
        )
        collect = GreenNodeCollectResultsOperator(
            task_id="collect_results",
            shard=shard,
            answer=job.answer,
            min_read_ratio=job.min_read_ratio,
            systematic_failure_ratio=job.systematic_failure_ratio,
            explains_errors=job.explain_errors,
            greennode_conn_id=job.conn_id,
            wait_task_id=wait.task_id,
            on_kill=job.on_kill,
            trigger_rule=TriggerRule.ALL_DONE,
            map_index_template=SHARD_NAME,
        )
        submit >> wait >> collect

    return attempt.expand(shard=shards)


def _in_pool(job: BatchJob, weight: int) -> dict[str, Any]:
    """The priority of a task in the job's pool. By default a task's weight grows with the tasks that follow it."""
    if job.pool is None:
        return {}
    return {"pool": job.pool, "priority_weight": weight, "weight_rule": WeightRule.ABSOLUTE}
