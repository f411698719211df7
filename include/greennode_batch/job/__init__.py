"""What a user declares: a `BatchJob`, made of a source, a key, a prompt, a model and a target.

batch_job    BatchJob, the declaration itself
sources      SqlSource and FileSource: where rows come from
targets      SqlTarget and FileTarget: where answers go
budget       Budget: limits on a run's cost and rows
live_mode    Live: which requests are answered live
prices       price tables, and what tokens cost by them
texts        queries and prompts, inline or in files
columns      the columns that every target has
checks       checks across several fields of a job
file_types   file formats and column types, by name
declaration  Declaration: the base class, which checks fields and names the wrong one
"""

from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.budget import Budget
from greennode_batch.job.columns import RESULT_COLUMNS, SAMPLE
from greennode_batch.job.live_mode import Live
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
    "Live",
    "SqlSource",
    "SqlTarget",
    "read_job_text",
]
