"""The judge: a job whose rows are another job's answers, each rated from 1 to 5."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget

CANDIDATE = "candidate"
"""The column that says whose answer it is; `model` is the judge itself in the table of verdicts."""


class Verdict(BaseModel):
    """What a judge says of one answer. score: from 1 (worst) to 5."""

    score: int = Field(ge=1, le=5)
    reason: str


def judge_of(job: BatchJob, *, sql: str, prompt: str, model: str, **changes: Any) -> BatchJob:
    """The job that has a model rate the answers of a job.

    sql: gives a row per answer: the job's key, the column `candidate` (its model), and what the prompt shows. changes:
    of the BatchJob that is made. Unless they say otherwise it is called `<name>_judge`, reads the database of the
    job's table and writes the table `<table>_verdicts` there. Raises ConfigError for a job without a table.
    """
    table = next((target for target in job.targets if isinstance(target, SqlTarget)), None)
    if table is None:
        raise ConfigError(f"job {job.name}: a judge reads its answers from a table, and it has no SqlTarget")
    declared: dict[str, Any] = {
        "name": f"{job.name}_judge",
        "source": SqlSource(conn_id=table.conn_id, sql=sql),
        "key": (*job.key_columns, CANDIDATE),
        "model": model,
        "prompt": prompt,
        "answer": Verdict,
        "params": {"max_tokens": 200, "temperature": 0},
        "conn_id": job.conn_id,
        "target": SqlTarget(conn_id=table.conn_id, table=f"{table.table}_verdicts"),
    }
    return BatchJob(**{**declared, **changes})
