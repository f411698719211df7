"""What the operators that read a job's source share: its query or path is a template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2
from airflow.sdk import BaseOperator, Context
from jinja2 import meta

from greennode_batch.build.part import WHOLE, Part
from greennode_batch.errors import ConfigError
from greennode_batch.job import BatchJob, FileSource, SqlSource, read_job_text


class SourceOperator(BaseOperator):
    """Renders the query or path of a job's source, which may use `{{ partition }}` and `{{ partitions }}`."""

    template_fields: Sequence[str] = ("sql", "source_path")
    template_fields_renderers = {"sql": "sql"}  # noqa: RUF012 - Airflow's own declaration
    ui_color = "#e3f4ea"

    def __init__(self, *, job: BatchJob, part: Part = WHOLE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.part = part
        self.sql = job.source.sql if isinstance(job.source, SqlSource) else None
        self.source_path = job.source.path if isinstance(job.source, FileSource) else None

    def resolve_template_files(self) -> None:
        """Read the query from the jobs folder, as Airflow does for files of its own search path."""
        if self.sql is not None:
            self.sql = read_job_text(self.sql)

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: jinja2.Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render with the part's number and count beside what Airflow gives to every template."""
        part: Any = {"partition": self.part.number, "partitions": self.part.total}
        return super().render_template(content, {**context, **part}, jinja_env, seen_oids)

    @property
    def rendered(self) -> str:
        """The query or path, once it is rendered."""
        return self.sql or self.source_path or ""

    def names_its_part(self) -> bool:
        """Whether the query or path as declared uses `partition`, and so tells itself what belongs to a part."""
        source = self.job.source
        declared = read_job_text(source.sql) if isinstance(source, SqlSource) else source.path
        return "partition" in _names_in(self.get_template_env(), declared)


def _names_in(environment: jinja2.Environment, text: str) -> set[str]:
    """The names that a template uses, and those templates that it includes."""
    syntax = environment.parse(text)
    names = meta.find_undeclared_variables(syntax)
    for other in meta.find_referenced_templates(syntax):
        if other is None or environment.loader is None:
            raise ConfigError(
                "partitions: the query includes a file whose name it makes up, so that it cannot be told whether that "
                "uses partition; write the name as a plain text. Nothing was sent"
            )
        names |= _names_in(environment, environment.loader.get_source(environment, other)[0])
    return names
