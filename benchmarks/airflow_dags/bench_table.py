"""# Benchmark: a table of generated rows becomes a table of answers"""

from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget

JOB = BatchJob(
    name="bench_table",
    source=SqlSource(conn_id="warehouse", sql="SELECT id, text FROM bench_rows"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="Which section does this belong to? Answer with one word.\n\n{{ text }}",
    params={"max_tokens": 60, "temperature": 0},
    target=SqlTarget(conn_id="warehouse", table="bench_answers"),
)

dag = batch_table(JOB, doc_md=__doc__)
