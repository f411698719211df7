"""# Ticket replies: drafts for tickets by mail, and a task that uses them

The job is a group in a larger DAG. The task after it receives the run's outcome and where its answers are.
"""

from airflow.sdk import DAG, task
from pydantic import BaseModel

from greennode_airflow.form import form_params
from greennode_airflow.pipeline import batch_table_group, described
from greennode_airflow.run_result import run_result
from greennode_batch.job import BatchJob, SqlSource, SqlTarget


class Reply(BaseModel):
    subject: str
    body: str


JOB = BatchJob(
    name="replies",
    source=SqlSource(conn_id="warehouse", sql="ticket_replies/source.sql", tables=("support_tickets",)),
    key="ticket_id",
    model="google/gemma-4-31b-it",
    prompt="ticket_replies/prompt.md",
    answer=Reply,
    params={"max_tokens": 300, "temperature": 0},
    target=SqlTarget(conn_id="warehouse", table="ticket_replies"),
)
FORM = form_params(JOB)

with DAG("ticket_replies", schedule=None, max_active_runs=1, tags=["greennode"], params=FORM, **described(__doc__)):

    @task
    def hand_over() -> dict[str, object]:
        """Report the outcome of the run, and the rows that hold its drafts."""
        done = run_result()
        return {"summary": done.report.summary, "cost": done.report.cost, "drafts": done.answered_rows}

    batch_table_group(JOB) >> hand_over()
