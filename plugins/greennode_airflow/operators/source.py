"""What operators share that read a job's source: its query or path is a template, and so are its parameters."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import jinja2
from airflow.sdk import Context
from jinja2 import meta
from upath import UPath

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.form import check_conf, declared_names
from greennode_airflow.observability.assets import assets_of
from greennode_airflow.runtime.template_values import TemplateOperator, template_values
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource, Source, SqlSource
from greennode_batch.job.texts import read_job_text
from greennode_batch.source.partition import WHOLE, Part

_ONE_EXPRESSION = re.compile(r"\s*\{\{[-+]?((?:(?!\{\{|\}\}).)+?)[-+]?\}\}\s*", re.DOTALL)


class SqlParameters(dict[str, Any]):
    """Values that a query's driver binds, by name. A template of one expression gives a value of its type."""


class SourceOperator(TemplateOperator):
    """Renders the query or path of a job's source, which may use `{{ partition }}` and `{{ partitions }}`.

    strict_conf: whether any key of the run's conf that is not a param of the DAG fails the task; if not, only a
    misspelt field of the trigger form does.
    """

    template_fields: Sequence[str] = ("sql", "parameters", "source_path")
    template_fields_renderers = {"sql": "sql"}  # noqa: RUF012 - Airflow's own declaration
    ui_color = "#e3f4ea"

    def __init__(self, *, job: BatchJob, part: Part = WHOLE, strict_conf: bool = False, **kwargs: Any) -> None:
        super().__init__(**{"inlets": assets_of(job.source), **kwargs})
        self.job = job
        self.strict_conf = strict_conf
        self.declared = declared_names(self.get_dag())
        self.read: tuple[int, UPath] | None = None
        self.part = part
        self.take_source(job.source)

    def take_source(self, source: Source) -> None:
        """Read this source in place of the job's."""
        self.job = dataclasses.replace(self.job, source=source)
        self.sql = source.sql if isinstance(source, SqlSource) else None
        self.parameters = SqlParameters(source.parameters) if isinstance(source, SqlSource) else None
        self.source_path = source.path if isinstance(source, FileSource) else None

    def resolve_template_files(self) -> None:
        """Read the query from the jobs folder, as Airflow does for files in its search path."""
        if self.sql is not None:
            self.sql = read_job_text(self.sql)

    @fail_without_retry
    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: jinja2.Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render with the part's number and count beside the values that Airflow gives every template."""
        part: Any = {"partition": self.part.number, "partitions": self.part.total}
        values: Any = {**template_values(context), **part}
        if isinstance(content, SqlParameters):
            environment = jinja_env or self.get_template_env()
            return {name: self._render_parameter(name, value, values, environment) for name, value in content.items()}
        return super().render_template(content, values, jinja_env, seen_oids)

    def _render_parameter(self, name: str, value: Any, context: Any, environment: jinja2.Environment) -> Any:
        one = _ONE_EXPRESSION.fullmatch(value) if isinstance(value, str) else None
        if one is None:
            return super().render_template(value, context, environment)
        rendered = environment.compile_expression(one[1], undefined_to_none=False)(**context)
        if isinstance(rendered, jinja2.Undefined):
            str(rendered)  # raises, if the run lacks what another run has
            raise ConfigError(f"SqlSource: the parameter {name} is {value}, and the run has no such value")
        return rendered

    @property
    def rendered(self) -> Source:
        """The job's source with its query or path as rendered, once that is done."""
        if isinstance(self.job.source, SqlSource):
            return dataclasses.replace(self.job.source, sql=self.sql or "", parameters=self.parameters or {})
        return dataclasses.replace(self.job.source, path=self.source_path or "")

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """For OpenLineage: the source, and how many of its rows were read into staging."""
        from greennode_airflow.observability.lineage import of_read

        return of_read(self.rendered, *self.read) if self.read else None

    def check_conf(self, context: Context) -> None:
        """Raise ConfigError for a key of the run's conf that the DAG does not allow."""
        check_conf(context["dag_run"].conf, self.declared, strict=self.strict_conf)

    def names_its_part(self) -> bool:
        """Whether the query or path as declared uses `partition`, and so selects the rows of a part itself."""
        source = self.job.source
        declared = read_job_text(source.sql) if isinstance(source, SqlSource) else source.path
        return "partition" in _names_in(self.get_template_env(), declared)


def _names_in(environment: jinja2.Environment, text: str) -> set[str]:
    """The names that a template uses, and the templates that it includes."""
    syntax = environment.parse(text)
    names = meta.find_undeclared_variables(syntax)
    for other in meta.find_referenced_templates(syntax):
        if other is None or environment.loader is None:
            raise ConfigError(
                "partitions: the query includes a file whose name is computed, so it is unknown whether that file "
                "uses partition; write the name as plain text. Nothing was sent"
            )
        names |= _names_in(environment, environment.loader.get_source(environment, other)[0])
    return names
