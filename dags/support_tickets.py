"""
# Support tickets: category, urgency, language and summary

Reads `support_tickets`, asks the model to classify each ticket, and writes one row per ticket into
`ticket_labels`: the model's answer in typed columns, or why there is no answer in `status` and `error`.

The query is `include/jobs/support_tickets/source.sql`, the prompt `include/jobs/support_tickets/prompt.md`.
"""

from typing import Literal

from pydantic import BaseModel, Field

from greennode_airflow.pipeline import batch_table
from greennode_batch.job import BatchJob, SqlSource, SqlTarget


class TicketLabel(BaseModel):
    category: Literal["billing", "outage", "account", "how_to", "feature_request", "complaint", "other"]
    urgency: int = Field(ge=1, le=5)
    language: Literal["en", "vi", "other"]
    summary: str


JOB = BatchJob(
    name="support_tickets",
    source=SqlSource(conn_id="warehouse", sql="support_tickets/source.sql", tables=("support_tickets",)),
    key="ticket_id",
    carry=("true_category",),
    model="google/gemma-4-31b-it",
    prompt="support_tickets/prompt.md",
    answer=TicketLabel,
    params={"max_tokens": 200, "temperature": 0},
    target=SqlTarget(conn_id="warehouse", table="ticket_labels"),
)

dag = batch_table(JOB, doc_md=__doc__)
