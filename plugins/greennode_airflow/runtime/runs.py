"""Runs: what a task knows about the run that it belongs to, and the folder of that run's files."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from airflow.sdk import BaseOperator, Context, ObjectStoragePath
from airflow.sdk.configuration import conf
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.io import has_fs
from upath import UPath

from greennode_airflow.form import choices_of, is_form_field
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.live_mode import Live
from greennode_batch.staging.folders import RunFolder, ShardFolder, local_path
from greennode_batch.staging.stores import check_staging, unopened
from greennode_batch.state.run_identity import find_run, identity_of, make_again, note_run


class WholeJob:
    """A task that is a job's whole pipeline. map_index: of the instance that runs; -1 if the task is not mapped."""

    map_index: int = -1

    def note_instance(self, context: Context) -> None:
        """Note which instance runs: its run is found by that."""
        index = context["ti"].map_index
        self.map_index = -1 if index is None else index


def run_of(context: Context, prefix: str = "") -> RunFolder:
    """The folder of the run that a task belongs to.

    prefix: distinguishes several pipelines of one DAG (the task group's id).
    """
    run = context["dag_run"]
    return find_run(staging_root(), run.dag_id, run.run_id, group=prefix)


def begin_run(context: Context, prefix: str = "", *, conn_id: str | None = None, is_first: bool = False) -> RunFolder:
    """The same, with a note of whose it is: without the note, its files are never removed after the run.

    A run that was deleted in Airflow and made again under its id is another run, with a separate folder. conn_id: the
    connection for its batches. is_first: whether the task is among the first of a pipeline.
    """
    run, dag_run = run_of(context, prefix), context["dag_run"]
    known = identity_of(run)
    began_at = known.began_at if known else None
    if not dag_run.clear_number and dag_run.start_date is not None:
        started_at = dag_run.start_date.timestamp()
        # An earlier version has recorded no start; among its runs, one that is built for the first time has no plan.
        is_other = is_first and context["ti"].try_number == 1 and run.plan.exists()
        if known is not None and (is_other if began_at is None else began_at != started_at):
            run = make_again(run, known, began_at=started_at)
        began_at = started_at
    note_run(
        run,
        dag_id=dag_run.dag_id,
        run_id=dag_run.run_id,
        conn_id=conn_id,
        group=prefix,
        began_at=began_at,
        # A task beside a pipeline may be in a DAG with other params.
        is_dry_run=is_dry_run(context) if is_first else None,
        is_try=choices_of(context).is_try if is_first else None,
    )
    return run


def staging_root() -> UPath:
    """The folder with the files of all runs."""
    return check_staging(_storage(conf.get("greennode", "staging")))


def shard_at(path: str) -> ShardFolder:
    """A shard's folder, by the path from build_requests."""
    return ShardFolder(_storage(path))


def shared_path(path: str, *, what: str, kind: str, example: str) -> UPath:
    """A path that a job names, as all workers can find it. Raises ConfigError for a relative one.

    what, kind, example: for the error: the job's word for it, `file` or `folder`, and whole paths.
    """
    opened = _storage(path)
    local = local_path(opened)
    if local is not None and not local.is_absolute():
        raise ConfigError(
            f"{what} {path}: is relative, so each worker would read another {kind}; write the whole path {example}"
        )
    return opened


def _storage(path: str) -> UPath:
    try:
        opened = cast("UPath", ObjectStoragePath(path))
    except ValueError as error:
        raise unopened(path, error) from error
    if local_path(opened) is None and not has_fs(opened.protocol):
        raise unopened(path, "no provider of this Airflow has one")
    return opened


def group_of(operator: BaseOperator | MappedOperator, map_index: int = -1) -> str:
    """The id of the task group that has the pipeline's tasks; empty if the whole DAG is the job's.

    A task that is a whole job is a group by itself; mapped, each of its instances is one. map_index: where the operator
    is not the one that runs.
    """
    if not isinstance(operator, WholeJob):
        return operator.task_id.rpartition(".")[0]
    index = max(map_index, operator.map_index)
    return operator.task_id if index < 0 else f"{operator.task_id}.{index}"


def job_id_of(operator: BaseOperator, job: BatchJob) -> str:
    """The owner of the rows that a pipeline writes: the same in every run of the job, whichever DAG it is in.

    It is the job's name; only if another group of the DAG has a job with that name, the group's id comes before it.
    """
    dag, group = operator.get_dag(), group_of(operator)
    if isinstance(operator, WholeJob) and operator.map_index >= 0:
        # Rows of another instance have not left the source of this one.
        return f"{group}/{job.own_id}"
    groups = {
        group_of(task)
        for task in (dag.tasks if dag is not None else ())
        # Those of a shard stand in a group of the pipeline's own, its attempt.
        if not hasattr(task, "shard")
        and isinstance(declared := getattr(task, "job", None), BatchJob)
        and declared.own_id == job.own_id
    }
    is_shared = job.job_id is None and bool(groups - {group})
    return f"{group}/{job.own_id}" if group and is_shared else job.own_id


def data_until(context: Context) -> float | None:
    """When the data of a run ends, in epoch seconds: at its partition, else at the end of its data interval.

    None if it has neither, such as a run that an asset has triggered.
    """
    moment = context.get("partition_date") or _as_moment(context.get("partition_key"))
    moment = moment or context.get("data_interval_end")
    return None if moment is None else moment.timestamp()


def _as_moment(partition_key: str | None) -> datetime.datetime | None:
    """The time that a partition's key names, if it names one."""
    if partition_key is None or "-" not in partition_key:  # eight digits may mean anything
        return None
    try:
        moment = datetime.datetime.fromisoformat(partition_key)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def is_dry_run(context: Context) -> bool:
    """Whether the trigger form asked to show the requests and send none."""
    return choices_of(context).dry_run


def shows_only(context: Context, task: str = "build_requests") -> str:
    """Why a run writes nothing into its targets, as the trigger form asked; empty for a run that does.

    task: which one has shown something.
    """
    chosen = choices_of(context)
    if chosen.dry_run:
        return f"a dry run sends nothing and writes nothing; see the log of {task}"
    return f"a try writes nothing; its answers are on its page and in the log of {task}" if chosen.is_try else ""


def is_running(context: Context, dag_id: str, run_id: str) -> bool:
    """Whether Airflow has a run that is queued or running."""
    try:
        state = context["ti"].get_dagrun_state(dag_id=dag_id, run_id=run_id)
    except AirflowRuntimeError as error:
        if (error.error.detail or {}).get("status_code") != HTTPStatus.NOT_FOUND:
            raise
        return False  # it was deleted
    return str(getattr(state, "value", state)) in {"queued", "running"}


def run_job(job: BatchJob, context: Context) -> BatchJob:
    """The job as a task's run uses it: with the choices of the trigger form.

    Raises ConfigError for a choice that the job does not allow.
    """
    chosen = choices_of(context, job)
    changes: dict[str, Any] = {}
    if chosen.models is not None and chosen.models != job.models:
        changes["model"] = _chosen_models(job, chosen.models)
    if chosen.refresh is not None:
        changes["refresh"] = chosen.refresh
    if chosen.retry_final is not None:
        changes["retry_final"] = chosen.retry_final
    if chosen.mode is not None:
        changes["live"] = None if chosen.mode == "batch" else Live(only=True)
    if chosen.is_try:
        changes["refresh"] = "all"
    return dataclasses.replace(job, **changes) if changes else job


def is_partial(job: BatchJob, context: Context, own_values: Mapping[str, Any]) -> bool:
    """Whether a run covers only a part of the job's rows: then it cannot show which rows left the source.

    own_values: the DAG's own params, which have these values unless a run sets others.
    """
    chosen = choices_of(context)
    own = {name: value for name, value in context["params"].items() if not is_form_field(name)}
    return chosen.limit is not None or len(run_job(job, context).models) < len(job.models) or own != dict(own_values)


def _chosen_models(job: BatchJob, chosen: tuple[str, ...]) -> str | tuple[str, ...]:
    """One model or several, as in the job: a target's key depends on it."""
    if isinstance(job.model, str):
        if len(chosen) > 1:
            raise ConfigError(
                f"job {job.name}: uses one model a run, not {', '.join(chosen)}; declare several in the job to use "
                "them together. Nothing was sent"
            )
        return chosen[0]
    others = [model for model in chosen if model not in job.models]
    if others:
        raise ConfigError(
            f"job {job.name}: has no model {', '.join(others)}; choose of {', '.join(job.models)}. Nothing was sent"
        )
    return tuple(model for model in job.models if model in chosen)
