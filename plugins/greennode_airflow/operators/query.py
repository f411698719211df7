"""What operators share that read a query: it is a template, and may be a file of a job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from greennode_airflow.runtime.template_values import TemplateOperator
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.texts import read_job_text

if TYPE_CHECKING:
    # Its module loads Arrow, which a task that sends or waits does not need.
    from greennode_batch.source.rows import Rows


class QueryOperator(TemplateOperator):
    """Renders the query of a source, and reads its rows."""

    template_fields: Sequence[str] = ("sql",)
    template_fields_renderers = {"sql": "sql"}  # noqa: RUF012 - Airflow's own declaration
    ui_color = "#e3f4ea"

    def __init__(self, *, source: SqlSource, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.sql = source.sql

    def resolve_template_files(self) -> None:
        """Read the query from the jobs folder, as Airflow does for files in its search path."""
        self.sql = read_job_text(self.sql)

    @contextmanager
    def opened(self) -> Iterator[Callable[[], Rows]]:
        """A function that opens the rows, as often as it is called."""
        from greennode_airflow.runtime.databases import connect
        from greennode_batch.source.sql import read_sql

        with closing(connect(self.source.conn_id)) as connection:
            yield lambda: read_sql(connection, self.sql)
