"""# Daily tickets: ingest, classify, report and notify, a day a run

A run takes one day's tickets, so that a backfill fills in earlier days. What is not done after six hours is asked live.
"""

import logging
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, BaseHook, CronDataIntervalTimetable, task
from airflow.sdk.exceptions import AirflowFailException
from pydantic import BaseModel, Field

from greennode_airflow.failures import RETRIES
from greennode_airflow.form import form_params
from greennode_airflow.observability.alerts import late_run
from greennode_airflow.operators import GreenNodePageOperator
from greennode_airflow.pipeline import batch_table_group, described
from greennode_airflow.run_result import run_result
from greennode_batch.job import BatchJob, Live, SqlSource, SqlTarget
from greennode_batch.job.texts import read_job_text

log = logging.getLogger(__name__)


class Label(BaseModel):
    topic: str
    urgency: int = Field(ge=1, le=5)
    summary: str


JOB = BatchJob(
    name="classify",
    source=SqlSource(conn_id="warehouse", sql="daily_tickets/source.sql", tables=("ticket_inbox",)),
    key="ticket_id",
    carry=("created_at",),
    model="google/gemma-4-31b-it",
    prompt="daily_tickets/prompt.md",
    answer=Label,
    target=SqlTarget(conn_id="warehouse", table="daily_labels"),
    orphaned_rows="ignore",
    live=Live(finish_by=timedelta(hours=6)),
)

with DAG(
    "daily_tickets",
    schedule=CronDataIntervalTimetable("@daily", timezone="Asia/Ho_Chi_Minh"),
    start_date=datetime(2026, 8, 1, tzinfo=ZoneInfo("Asia/Ho_Chi_Minh")),
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    deadline=late_run(timedelta(hours=7)),
    tags=["greennode"],
    params=form_params(JOB),
    **described(__doc__),
):

    @task
    def ingest(data_interval_start: datetime | None = None, data_interval_end: datetime | None = None) -> None:
        """Copy the day's tickets out of the help desk's table."""
        if data_interval_start is None:
            raise AirflowFailException(
                "This run has no data interval: trigger it with a logical date, or as a backfill"
            )
        between = {"start": data_interval_start, "end": data_interval_end}
        sql = read_job_text("daily_tickets/ingest.sql")
        BaseHook.get_hook("warehouse").run(sql, parameters=between, split_statements=True)

    @task
    def notify(page: str) -> str:
        """Say how the day went. Here the log has it: put your mail or chat in its place."""
        message = f"{run_result().report.summary}. Report: {page}"
        log.info(message)
        return message

    report = GreenNodePageOperator(
        task_id="page",
        source=SqlSource(conn_id="warehouse", sql="daily_tickets/page.sql"),
        template="daily_tickets/page.html.j2",
    )
    ingest() >> batch_table_group(JOB) >> report
    notify(report.output)
