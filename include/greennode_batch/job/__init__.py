"""What a user declares: a source, a key, a prompt, a model and a target make a `BatchJob`."""

from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.budget import Budget
from greennode_batch.job.columns import RESULT_COLUMNS, SAMPLE
from greennode_batch.job.sources import FileSource, SqlSource
from greennode_batch.job.targets import FileTarget, SqlTarget
from greennode_batch.job.texts import read_job_text

__all__ = [
    "RESULT_COLUMNS",
    "SAMPLE",
    "BatchJob",
    "Budget",
    "FileSource",
    "FileTarget",
    "SqlSource",
    "SqlTarget",
    "read_job_text",
]
