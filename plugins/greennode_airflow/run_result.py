"""Run result: the outcome of a job's run, for a task after it: `run_result().report`, `read_answers(result)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk import Context, get_current_context

from greennode_airflow.operators.table import GreenNodeReportOperator
from greennode_airflow.runtime.dataset_paths import with_paths
from greennode_airflow.runtime.runs import job_id_of, run_of
from greennode_batch.errors import ConfigError
from greennode_batch.state.job_result import RunResult, answers_in
from greennode_batch.state.run_report import RunReport

if TYPE_CHECKING:
    import pandas as pd


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
        answer_columns=found.job.answer_columns,
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


def read_answers(result: RunResult | Mapping[str, Any], *, target: int = 0) -> pd.DataFrame:
    """The answers that a run's result refers to, as a pandas DataFrame. Holds all of them.

    Of rows that a function returned: these rows, in their order, with the answer's columns, status, error and tokens
    behind, also where an earlier run has answered them. Of any other source: the rows that this run has written, with
    all columns of the target. Nested answers are JSON texts.

    result: a RunResult, or what GreenNodeBatchOperator or `@task.greennode_batch` has handed on by XCom. target: which
    of the job's targets is read. Raises ConfigError for what is no result, and where its rows are gone from staging.
    """
    from greennode_airflow.runtime.answer_frame import answer_frame  # noqa: PLC0415 - it loads Arrow and pandas

    return answer_frame(result if isinstance(result, RunResult) else RunResult.from_json(result), target)
