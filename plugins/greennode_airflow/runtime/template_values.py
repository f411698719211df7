"""Template values: what Airflow gives a job's templates, and an error where a run lacks what a template names.

Airflow would write None for a partition key that a run does not have, and nothing for a date: the query of a run that
was triggered by hand would find no rows, and its answers would go to a table named None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2
from airflow.sdk import BaseOperator, Context

from greennode_airflow.failures import fail_without_retry
from greennode_batch.errors import ConfigError

_OF_PARTITION = ("partition_key", "partition_date")
_OF_DATE = (
    "ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz", "logical_date", "data_interval_start",
    "data_interval_end",
)  # fmt: skip


class TemplateOperator(BaseOperator):
    """An operator whose templates name only what the run has. Otherwise the task fails, at once."""

    @fail_without_retry
    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: jinja2.Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render as Airflow does, with `template_values`."""
        return super().render_template(content, template_values(context), jinja_env, seen_oids)


class _Lacking(jinja2.Undefined):
    """A value that the run does not have: false where a template tests it, and an error where it is used."""

    __slots__ = ()

    def __str__(self) -> str:
        return str(self._fail_with_undefined_error())


def template_values(context: Mapping[str, Any]) -> Any:
    """The context of a run, with values that raise ConfigError when used in place of those that the run lacks.

    A template may test for them: `{{ ds or 'no day' }}`, `{% if partition_key %}`, `{{ partition_key | default('') }}`.
    """
    return {**context, **_lacking(context, _OF_PARTITION), **_lacking(context, _OF_DATE)}


def _lacking(context: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, _Lacking]:
    lacks = [name for name in names if context.get(name) is None]
    # Jinja only raises it.
    error: Any = ConfigError
    return {name: _Lacking(hint=_hint(name, context), name=name, exc=error) for name in lacks}


def _hint(name: str, context: Mapping[str, Any]) -> str:
    what = f"a template of the job uses {name}, which this run does not have"
    if name in _OF_PARTITION:
        way_out = (
            "trigger it with a partition key, or give the DAG a partitioned schedule, such as CronPartitionTimetable"
        )
    elif context.get("partition_key"):
        way_out = "a run of a partition has no logical date; use partition_key or partition_date"
    else:
        way_out = "trigger it with a logical date, or use dag_run.run_after, which each run has"
    return f"{what}: {way_out}. Nothing was sent"
