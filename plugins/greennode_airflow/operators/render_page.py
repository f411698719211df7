"""Rows of a query -> a page for people to read."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.observability.links import ReportLink
from greennode_airflow.operators.query import QueryOperator
from greennode_airflow.runtime.runs import begin_run, group_of
from greennode_batch.analysis.pages.template import write_page
from greennode_batch.job.sources import SqlSource


class GreenNodePageOperator(QueryOperator):
    """Renders a template over the rows of a query, and writes `page.html` into the run's folder. Returns its path.

    template: Jinja, a file below `include/jobs`, which gets `rows` (each a mapping of its columns), `dag_id` and
    `run_id`. Its output is escaped; `{% extends "base.html.j2" %}` gives it the other pages' style. max_rows: more
    rows are an error, because the page is held in memory as a whole.
    """

    operator_extra_links = (ReportLink(),)
    report_name = "page.html"

    def __init__(self, *, source: SqlSource, template: str, max_rows: int = 1000, **kwargs: Any) -> None:
        super().__init__(source=source, **kwargs)
        self.template = template
        self.max_rows = max_rows

    @fail_without_retry
    def execute(self, context: Context) -> str:
        """Read, render, write."""
        from greennode_batch.analysis.pages.query_page import query_page

        run = context["dag_run"]
        with self.opened() as read:
            page = query_page(read(), self.template, max_rows=self.max_rows, dag_id=run.dag_id, run_id=run.run_id)
        path = begin_run(context, group_of(self)).path / self.report_name
        write_page(page, path)
        self.log.info("The page is %s", path)
        return str(path)
