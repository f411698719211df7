"""Wording: counts with the right plural, and the name of the option or field that a message points to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def counted(count: int, one: str, several: str = "") -> str:
    """Format a count: `1 shard`, `1,200 shards`. several: the plural, if it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


_OPTIONS: dict[str, str] = {}
_AGAIN: list[str] = []


@contextmanager
def run_again_by(words: str) -> Iterator[None]:
    """Inside, `done_again` says this: how somebody who runs a job without Airflow goes on with it."""
    _AGAIN.append(words)
    try:
        yield
    finally:
        _AGAIN.pop()


@contextmanager
def options_of_command(options: Mapping[str, str]) -> Iterator[None]:
    """Inside, `given_by` names fields by these options of the command line: `max_cost` is given by `--max-cost`.

    It holds for the whole process, threads as well: a process runs one command.
    """
    _OPTIONS.update(options)
    try:
        with run_again_by("start the same command again"):
            yield
    finally:
        _OPTIONS.clear()


def given_by(field: str, declared: str = "", *, value: str = "") -> str:
    """What gives a field, for the way out of an error: the option of the command that runs, else as it is declared.

    declared: how a DAG file or a connection says it, by default the field's name. value: what to give.
    """
    if field in _OPTIONS:
        return f"{_OPTIONS[field]} {value}".rstrip()
    return declared or (f"{field}={value}" if value else field)


def done_again(task: str = "the task") -> str:
    """How a step is done again: Airflow clears its task, without Airflow the whole run is started again."""
    return _AGAIN[-1] if _AGAIN else f"clear {task}"
