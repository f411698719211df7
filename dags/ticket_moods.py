"""# Ticket moods: a whole job as one task, and one over the rows of a function

`label` asks about each row of a table and writes a table. `answer` takes the rows that its function returns, here those
of the angry tickets. Both wait without a worker, and hand on where their answers are.
"""

from typing import Literal

import pandas as pd
from airflow.sdk import DAG, task
from pydantic import BaseModel

from greennode_airflow.operators import GreenNodeBatchOperator
from greennode_airflow.pipeline import described
from greennode_airflow.run_result import read_answers
from greennode_batch.job import BatchJob, SqlSource, SqlTarget

MODEL = "google/gemma-4-31b-it"


class Mood(BaseModel):
    mood: Literal["calm", "worried", "angry"]


JOB = BatchJob(
    name="moods",
    source=SqlSource(
        conn_id="warehouse", sql="SELECT ticket_id, subject, body FROM support_tickets", tables=("support_tickets",)
    ),
    key="ticket_id",
    carry=("subject",),
    model=MODEL,
    prompt="How does the customer feel? {{ subject }}\n\n{{ body }}",
    answer=Mood,
    target=SqlTarget(conn_id="warehouse", table="ticket_moods"),
)

with DAG("ticket_moods", schedule=None, max_active_runs=1, tags=["greennode"], **described(__doc__)):

    @task.greennode_batch(key="ticket_id", prompt="Write one calming sentence to: {{ subject }}", model=MODEL)
    def answer(moods: dict[str, object]) -> pd.DataFrame:
        """Return the angry tickets."""
        tickets = read_answers(moods)
        return tickets[tickets["mood"] == "angry"][["ticket_id", "subject"]]

    @task
    def say(answered: dict[str, object]) -> str:
        """Show the first sentences."""
        return "\n".join(read_answers(answered)["answer"].dropna().head(3))

    label = GreenNodeBatchOperator(task_id="label", job=JOB)
    say(answer(label.output))
