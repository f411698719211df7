"""Judge: a job that rates each answer of another job from 1 to 5."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget

CANDIDATE = "candidate"
"""The column with the model that gave the answer; in the table of verdicts, `model` is the judge."""


class Verdict(BaseModel):
    """A judge's rating of one answer. `score` is from 1 (worst) to 5."""

    score: int = Field(ge=1, le=5)
    reason: str


def judge_of(job: BatchJob, *, sql: str, prompt: str, model: str, **changes: Any) -> BatchJob:
    """Make a job in which a model rates the answers of `job`.

    sql: a query with one row per answer: the job's key, the column `candidate` (the model that answered), and what the
    prompt shows. changes: other arguments of the new BatchJob. By default it is called `<name>_judge`, reads the
    database of the job's table and writes the table `<table>_verdicts` there. Raises ConfigError for a job without a
    table.
    """
    table = next((target for target in job.targets if isinstance(target, SqlTarget)), None)
    if table is None:
        raise ConfigError(f"job {job.name}: a judge reads answers from a table, but this job has no SqlTarget; add one")
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
