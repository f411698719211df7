"""Run result: the outcome of a job's run, for a task after its pipeline: `run_result().report`."""

from __future__ import annotations

import msgspec
from airflow.sdk import Context, get_current_context

from greennode_airflow.operators.table import GreenNodeReportOperator
from greennode_airflow.runtime.dataset_paths import with_paths
from greennode_airflow.runtime.runs import job_id_of, run_of
from greennode_batch.errors import ConfigError
from greennode_batch.state.job_result import RunResult, answers_in
from greennode_batch.state.run_report import RunReport


def run_result(group: str | None = None, context: Context | None = None) -> RunResult:
    """The outcome of the run of a task, once the pipeline's `report` is over.

    group: the id of the job's task group, `""` for the tasks that batch_table has made; needed only in a DAG of
    several jobs. context: the task's by default. Raises ConfigError if there is no report, as for a dry run.
    """
    context = context or get_current_context()
    found = _report_of(context, group)
    made = context["ti"].xcom_pull(task_ids=found.task_id)
    if made is None:
        raise ConfigError(
            f"{found.task_id} has made no report in this run: a dry run, or one that was left out or ended before, has "
            "no result"
        )
    job_group = found.task_id.rpartition(".")[0]
    return RunResult(
        report=msgspec.convert(made, RunReport),
        targets=answers_in(with_paths(found.job.targets, found.render_template(found.paths, context))),
        key=found.job.key_columns,
        target_key=found.job.target_key,
        job_id=job_id_of(found, found.job),
        folder=str(run_of(context, job_group).path),
    )


def _report_of(context: Context, group: str | None) -> GreenNodeReportOperator:
    reports = {
        task.task_id.rpartition(".")[0]: task
        for task in context["dag"].tasks
        if isinstance(task, GreenNodeReportOperator)
    }
    if group is None and len(reports) == 1:
        return next(iter(reports.values()))
    found = reports.get(group) if group is not None else None
    if found is None:
        named = f"has no group {group!r}" if group is not None else "has the reports of several jobs"
        groups = ", ".join(map(repr, reports)) or "none"
        raise ConfigError(f"the DAG {named}: name one of its groups, run_result(GROUP); there are {groups}")
    return found
