"""# Benchmark: a table in thousands of small shards"""

from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget

JOB = BatchJob(
    name="bench_shards",
    source=SqlSource(conn_id="warehouse", sql="SELECT id, text FROM bench_rows"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="Which section does this belong to? Answer with one word.\n\n{{ text }}",
    params={"max_tokens": 60, "temperature": 0},
    # As in benchmarks/many_shards.py.
    max_shard_requests=4,
    target=SqlTarget(conn_id="warehouse", table="bench_answers"),
)

dag = batch_table(JOB, doc_md=__doc__)
