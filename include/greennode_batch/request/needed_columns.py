"""Needed columns: those that a job uses. The source must have them, and a file's other columns are not read."""

from __future__ import annotations

from collections.abc import Collection

from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.request.job_request import job_messages, message_names, prompt_name


def needed_columns(job: BatchJob) -> frozenset[str]:
    """The columns of the key, carry and row_params, and every name in the prompts.

    Raises ConfigError for a prompt that is not valid Jinja.
    """
    named = message_names(job_messages(job), prompt_name(job))
    return named.union(job.key_columns, job.carry, job.row_params.values())


def refuse_missing(job: BatchJob, columns: Collection[str]) -> None:
    """Raise ConfigError if the source lacks a column of the key, carry or row_params.

    columns: all columns of the source.
    """
    wanted = dict.fromkeys((*job.key_columns, *job.carry, *job.row_params.values()))
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ConfigError(
            f"job {job.name}: the source has no column {', '.join(missing)} (it has {', '.join(columns)}); "
            "use the source's column names in key, carry and row_params. Nothing was sent"
        )
