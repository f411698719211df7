"""# Synthetic data: from twelve examples to many different ones

Each of the `message_seeds` is combined with twelve writers; the model writes a message for each pair into
`synthetic_messages`. Near duplicates are marked in `synthetic_duplicates`.
"""

from pydantic import BaseModel, Field

from greennode_airflow.operators import GreenNodeMarkNearDuplicatesOperator
from greennode_airflow.pipeline import batch_table
from greennode_batch.job import BatchJob, SqlSource, SqlTarget


class Message(BaseModel):
    text: str = Field(min_length=10)


JOB = BatchJob(
    name="synthetic_data",
    source=SqlSource(conn_id="warehouse", sql="synthetic_data/source.sql", tables=("message_seeds",)),
    key=("seed_id", "variant"),
    carry=("intent", "language"),
    model="google/gemma-4-31b-it",
    prompt="synthetic_data/prompt.md",
    answer=Message,
    params={"max_tokens": 300, "temperature": 1},
    target=SqlTarget(conn_id="warehouse", table="synthetic_messages"),
)

dag = batch_table(JOB, doc_md=__doc__)
dag.get_task("report") >> GreenNodeMarkNearDuplicatesOperator(
    task_id="mark_near_duplicates",
    source=SqlSource(conn_id="warehouse", sql="synthetic_data/answers.sql"),
    key=("seed_id", "variant"),
    text="text",
    target=SqlTarget(conn_id="warehouse", table="synthetic_duplicates"),
)
