"""`@task.greennode_batch`: a function's rows -> answers, as one task that waits without a worker.

The function returns a DataFrame, rows, or a source. Its rows go into staging, and the task goes on as
GreenNodeBatchOperator does. What it hands on has no rows: `read_answers` makes a DataFrame of it in a task behind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    TaskDecorator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)
from airflow.sdk import Context
from upath import UPath

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.operators.whole_job import GreenNodeBatchOperator
from greennode_airflow.runtime.runs import begin_run, group_of, staging_root
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource, Source, SqlSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.staging.folders import RunFolder, safe_name

_ROWS = "rows.parquet"
_ANSWERS = ".answers"
# What a task has by the same name stays the task's: a pool is Airflow's in any case.
_JOB_FIELDS = frozenset(field.name for field in dataclasses.fields(BatchJob)) - {"name", "source", "pool"}


class _GreenNodeBatchDecoratedOperator(DecoratedOperator, GreenNodeBatchOperator):
    """fields: of the job, all but its name and source."""

    template_fields = (*DecoratedOperator.template_fields, *GreenNodeBatchOperator.template_fields)
    template_fields_renderers = {  # noqa: RUF012 - Airflow's own declaration
        **DecoratedOperator.template_fields_renderers,
        **GreenNodeBatchOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.greennode_batch"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        task_id: str,
        fields: dict[str, Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.has_own_answers = "target" not in fields
        declared = {"target": FileTarget(path=_ANSWERS), **fields}
        job = BatchJob(name=safe_name(task_id), source=FileSource(path=_ROWS), **declared)
        super().__init__(
            python_callable=python_callable,
            task_id=task_id,
            op_args=op_args,
            op_kwargs=op_kwargs,
            job=job,
            # The rows are the function's, and nobody knows the folder of the answers before it runs.
            **{"inlets": [], **({"outlets": []} if self.has_own_answers else {}), **kwargs},
        )

    @fail_without_retry
    def execute(self, context: Context) -> dict[str, Any]:
        """Call the function, write its rows into staging, and run the job over them."""
        self.note_instance(context)
        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        returned = self.python_callable(*self.op_args, **arguments)
        run = begin_run(context, group_of(self), conn_id=self.job.conn_id, is_first=True)
        self.take_source(self._source_of(returned, run.path / _ROWS))
        handed_on: dict[str, Any] = super().execute(context)
        return handed_on

    def _go_on(self, context: Context, **options: Any) -> dict[str, Any]:
        if self.has_own_answers:
            self.note_instance(context)
            self.paths = [self._own_answers(context)]
        return super()._go_on(context, **options)

    def build_requests(self, context: Context) -> Any:
        """Build as the operator does, once it is known where the answers go."""
        if self.has_own_answers:
            self.paths = [self._own_answers(context)]
        return super().build_requests(context)

    def _own_answers(self, context: Context) -> str:
        """The folder of this task's answers in all runs: what one run has answered, the next does not ask again."""
        return str(staging_root() / _ANSWERS / safe_name(context["dag_run"].dag_id) / safe_name(group_of(self)))

    def _source_of(self, returned: Any, path: UPath) -> Source:
        """What the function returned, or the file in staging that its rows go into."""
        from greennode_airflow.runtime.staged_rows import stage_rows  # noqa: PLC0415 - it loads Arrow and pandas

        if isinstance(returned, SqlSource | FileSource):
            # An earlier try may have returned rows.
            path.unlink(missing_ok=True)
            return returned
        try:
            stage_rows(returned, path)
        except ConfigError as error:
            raise ConfigError(f"{self.task_id} returned what is not rows: {error}") from None
        return FileSource(path=str(path), format="parquet")

    def rows_of(self, run: RunFolder) -> str | None:
        """The file of the rows, if the function returned rows."""
        path = run.path / _ROWS
        return str(path) if path.exists() else None


def greennode_batch_task(python_callable: Callable[..., Any] | None = None, **options: Any) -> TaskDecorator:
    """`@task.greennode_batch(key="id", prompt="…", model="…", answer=Label)`.

    The function returns a pandas or polars DataFrame, a pyarrow Table, a list of dicts, or a SqlSource or FileSource.

    options: the fields of BatchJob, of which key, model, and prompt or messages are needed; and the arguments of a
    task, such as retries or pool. Without target, the answers go into a folder of staging that all runs of the task
    share, so that a row is asked once, not once a day.
    """
    wrong = {"name", "source"} & options.keys()
    if wrong:
        raise ConfigError(f"@task.greennode_batch: {', '.join(sorted(wrong))} is the task's id, or what it returns")
    fields = {name: options.pop(name) for name in list(options) if name in _JOB_FIELDS}
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=False,
        decorated_operator_class=_GreenNodeBatchDecoratedOperator,
        fields=fields,
        **options,
    )
