"""Answers of several models, and a judge's scores -> a page that compares them."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.observability.links import ReportLink
from greennode_airflow.operators.query import QueryOperator
from greennode_airflow.runtime.runs import begin_run, group_of, run_of
from greennode_batch.analysis.pages.template import write_page
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource


class GreenNodeEvaluationReportOperator(QueryOperator):
    """Compares a job's models by a query, and writes `evaluation.html` into the run's folder. Returns its path.

    job: whose models are compared, by its key; the prices are its own or its connection's. source: the query; it gives
    a row per row and model, with the job's key and the columns `model`, `status`, `expected` (the label, or NULL) and
    `said`; where it has them, also `score` and `reason` (the judge's), `prompt_tokens`, `completion_tokens` and
    `custom_id`. All other columns are texts that the examples show. title: the page's heading, by default the DAG's id
    in words. examples: how many rows on which the models differ are shown whole. group: the task group that asked, by
    default the job's name: the page says how long its answers took.
    """

    operator_extra_links = (ReportLink(),)
    report_name = "evaluation.html"

    def __init__(
        self,
        *,
        job: BatchJob,
        source: SqlSource,
        title: str | None = None,
        examples: int = 12,
        group: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(source=source, **kwargs)
        self.job = job
        self.title = title
        self.examples = examples
        self.group = group or job.name

    @fail_without_retry
    def execute(self, context: Context) -> str:
        """Count, choose examples, write the page."""
        from greennode_batch.analysis.evaluation.evaluation_page import evaluate, evaluation_page
        from greennode_batch.analysis.evaluation.latency import answer_waits

        with self.opened() as read:
            found = evaluate(
                read,
                self.job.key_columns,
                self.job.models,
                prices=GreenNodeHook(self.job.conn_id).prices(self.job),
                waits=answer_waits(run_of(context, self.group)),
                examples=self.examples,
            )
        path = begin_run(context, group_of(self)).path / self.report_name
        run = context["dag_run"]
        title = self.title or run.dag_id.replace("_", " ").capitalize()
        write_page(evaluation_page(found, title=title, origin=f"DAG {run.dag_id}, run {run.run_id}."), path)
        self.log.info("%s The page is %s", found.conclusion, path)
        return str(path)
