"""The engine's job here, its run, and the batch that its answers belong to."""

from __future__ import annotations

import dataclasses
from typing import Literal

from bench_folder import BenchFolder
from bench_request import BATCH_ID, MODEL, PARAMS, QUESTION, RUN_ID
from pydantic import BaseModel

from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget, SqlTarget
from greennode_batch.staging.folders import RunFolder, run_folder

JOB = BatchJob(
    name="bench",
    source=FileSource(path="rows.parquet"),
    key="id",
    model=MODEL,
    prompt=QUESTION + "{{ text }}",
    params=PARAMS,
    target=FileTarget(path="answers/"),
)
ON_TABLE = dataclasses.replace(JOB, target=SqlTarget(conn_id="bench", table="bench_engine"))
"""The same for a table, whose target it searches for answered rows."""
IN_PARTS = dataclasses.replace(JOB, partitions=4)
"""The same, read in parts."""


class Section(BaseModel):
    """A typed answer of about as many bytes as a plain one."""

    digest: str
    section: Literal["animals", "food", "places", "plants", "stones"]
    confidence: float
    urgent: bool
    keywords: list[str]
    summary: str


BATCH = Batch(id=BATCH_ID, status=BatchStatus.COMPLETED, raw_status="completed", created_at=1.0, completed_at=2.0)


def run_of(folder: BenchFolder, run_id: str = RUN_ID) -> RunFolder:
    """The engine's run."""
    return run_folder(folder.engine_staging, JOB.name, run_id)
