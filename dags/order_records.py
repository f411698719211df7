"""# Order records: free-text notes become columns

It turns `order_notes`, as people typed them in chats, mails and calls, into typed columns of `order_records`.
"""

from datetime import date

from pydantic import BaseModel, Field

from greennode_airflow.pipeline import batch_table
from greennode_batch.job import BatchJob, SqlSource, SqlTarget


class Item(BaseModel):
    name: str
    quantity: int = Field(ge=1)


class OrderRecord(BaseModel):
    recipient: str | None
    phone: str | None = Field(pattern=r"^0\d{9}$")
    street: str | None
    ward: str | None
    province: str | None
    deliver_on: date | None
    cash_on_delivery: int | None = Field(ge=0)
    items: list[Item]


JOB = BatchJob(
    name="order_records",
    source=SqlSource(conn_id="warehouse", sql="order_records/source.sql", tables=("order_notes",)),
    key="note_id",
    model="google/gemma-4-31b-it",
    prompt="order_records/prompt.md",
    answer=OrderRecord,
    params={"max_tokens": 500, "temperature": 0},
    target=SqlTarget(conn_id="warehouse", table="order_records"),
)
dag = batch_table(JOB, doc_md=__doc__)
