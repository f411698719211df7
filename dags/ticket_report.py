"""# Ticket report: what each category's tickets are about

Runs when `support_tickets` has written `ticket_labels`: the model summarizes each category, and a page shows it.
"""

from pydantic import BaseModel, Field

from greennode_airflow.observability.assets import asset_of
from greennode_airflow.operators import GreenNodePageOperator
from greennode_airflow.pipeline import batch_table
from greennode_batch.job import BatchJob, SqlSource, SqlTarget


class CategorySummary(BaseModel):
    headline: str
    summary: str
    causes: list[str] = Field(min_length=1, max_length=4)
    next_step: str


LABELS = SqlTarget(conn_id="warehouse", table="ticket_labels")
JOB = BatchJob(
    name="ticket_report",
    source=SqlSource(conn_id="warehouse", sql="ticket_report/source.sql", tables=("ticket_labels",)),
    key="category",
    carry=("tickets", "urgent", "vietnamese"),
    model="google/gemma-4-31b-it",
    prompt="ticket_report/prompt.md",
    answer=CategorySummary,
    params={"max_tokens": 500, "temperature": 0},
    target=SqlTarget(conn_id="warehouse", table="ticket_reports"),
)

dag = batch_table(JOB, schedule=[asset_of(LABELS)], doc_md=__doc__)
dag.get_task("report") >> GreenNodePageOperator(
    task_id="page",
    source=SqlSource(conn_id="warehouse", sql="ticket_report/page.sql"),
    template="ticket_report/page.html.j2",
)
