"""Needed columns: what a job uses of a source: it must be there, and a file's other columns are not read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from greennode_batch.build.prompt import names_in
from greennode_batch.errors import ConfigError
from greennode_batch.job import BatchJob, read_job_text


def needed_columns(job: BatchJob) -> frozenset[str]:
    """The key, the carried columns and every name in the prompts. Raises ConfigError for a prompt that is no Jinja."""
    texts = _texts(job.messages) if job.messages is not None else (job.system or "", job.prompt or "")
    named = prompt_names(map(read_job_text, texts), name=f"prompt of job {job.name}")
    return named.union(job.key_columns, job.carry)


def prompt_names(texts: Iterable[str], *, name: str) -> frozenset[str]:
    """Every name in some templates, which may be columns. Raises ConfigError for one that is no Jinja."""
    return frozenset().union(*(names_in(text, name=name) for text in texts))


def refuse_missing(job: BatchJob, columns: Collection[str]) -> None:
    """Raise ConfigError if the source lacks a column of the key, or a carried one. columns: all that it has."""
    missing = [name for name in (*job.key_columns, *job.carry) if name not in columns]
    if missing:
        raise ConfigError(
            f"job {job.name}: the source has no column {', '.join(missing)} (it has {', '.join(columns)}); "
            "name the key and carried columns as the query does. Nothing was sent"
        )


def _texts(value: Any) -> Iterable[str]:
    """All texts in a value of lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Iterable):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)
