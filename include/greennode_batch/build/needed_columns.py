"""Needed columns: what a job uses of a source, so that a file's other columns are not read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from greennode_batch.errors import ConfigError
from greennode_batch.job import BatchJob, read_job_text


def needed_columns(job: BatchJob) -> frozenset[str]:
    """The key, the carried columns and every name in the prompts. Raises ConfigError for a prompt that is no Jinja."""
    texts = _texts(job.messages) if job.messages is not None else (job.system or "", job.prompt or "")
    environment = ImmutableSandboxedEnvironment()
    names = {*job.key_columns, *job.carry}
    for text in texts:
        try:
            syntax = environment.parse(read_job_text(text))
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"prompt of job {job.name}, line {error.lineno}: {error.message}") from None
        names.update(node.name for node in syntax.find_all(nodes.Name))
    return frozenset(names)


def _texts(value: Any) -> Iterable[str]:
    """All texts in a value of lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Iterable):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)
