"""Needed columns: what a job uses of a source: it must be there, and a file's other columns are not read."""

from __future__ import annotations

from collections.abc import Collection

from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.request.job_request import job_messages, message_names, prompt_name


def needed_columns(job: BatchJob) -> frozenset[str]:
    """The key, the carried columns, those of row_params and every name in the prompts.

    Raises ConfigError for a prompt that is no Jinja.
    """
    named = message_names(job_messages(job), prompt_name(job))
    return named.union(job.key_columns, job.carry, job.row_params.values())


def refuse_missing(job: BatchJob, columns: Collection[str]) -> None:
    """Raise ConfigError if the source lacks a column of the key, a carried one or one of row_params.

    columns: all that it has.
    """
    wanted = dict.fromkeys((*job.key_columns, *job.carry, *job.row_params.values()))
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ConfigError(
            f"job {job.name}: the source has no column {', '.join(missing)} (it has {', '.join(columns)}); "
            "name the key, carried columns and those of row_params as the source does. Nothing was sent"
        )
