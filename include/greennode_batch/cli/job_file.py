"""The job that a Python file declares, such as a DAG file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from greennode_batch.cli.python_file import import_file
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob


def load_job(words: str) -> BatchJob:
    """The job of `FILE.py`, or of `FILE.py:NAME`; NAME is the job's name or its variable's.

    Raises ConfigError if there is no such job, or if there are several and none is named.
    """
    path, name = (words, "") if words.endswith(".py") else words.rpartition(":")[::2]
    if not path.endswith(".py"):
        raise ConfigError(f"--job {words}: name a Python file, as FILE.py or FILE.py:NAME. Nothing was sent")
    jobs = _jobs_in(import_file(Path(path)))
    if not jobs:
        raise ConfigError(f"{path}: declares no BatchJob. Nothing was sent")
    chosen = jobs
    if name:
        chosen = {own: job for own, job in jobs.items() if name in {own, job.name}}
    if len(set(map(id, chosen.values()))) == 1:
        return next(iter(chosen.values()))
    known = sorted(set(jobs))
    if name and not chosen:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r} of {', '.join(known)}" if near else f"it has {', '.join(known)}"
        raise ConfigError(f"{path}: declares no job {name!r}; {hint}. Nothing was sent")
    raise ConfigError(
        f"{path}: declares {len(known)} jobs, {', '.join(known)}; name one: --job {path}:{known[0]}. Nothing was sent"
    )


def _jobs_in(module: ModuleType) -> dict[str, BatchJob]:
    """The jobs of a module by the names of their variables; a job that only a DAG holds, by its own name."""
    jobs = {name: value for name, value in vars(module).items() if isinstance(value, BatchJob)}
    held = {job.name for job in jobs.values()}
    for job in _jobs_of_dags(module):
        # A task may hold a copy of the job with other options.
        if job.name not in held:
            held.add(job.name)
            jobs[job.name] = job
    return jobs


def _jobs_of_dags(module: ModuleType) -> Iterator[BatchJob]:
    for value in vars(module).values():
        tasks = getattr(value, "tasks", ())
        for task in tasks if isinstance(tasks, list | tuple) else ():
            job = getattr(task, "job", None)
            if isinstance(job, BatchJob):
                yield job
