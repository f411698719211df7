"""Open runs: the runs of one pipeline that were built and may still be asking, in the order of their builds.

    <root>/.open/<folder of the DAG>/<n>.json    the run that was built n-th

A run is noted once its plan has landed, under the next number, which is written exclusively: so a run sees the plan of
each run before it. Of two runs with equal requests, the one with the higher number waits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from upath import UPath

from greennode_batch.staging.exclusive import create_exclusive
from greennode_batch.staging.folders import RunFolder, fresh_names, read_json
from greennode_batch.state.document import Document

_NAME = re.compile(r"(\d+)\.json")


class OpenRun(Document, frozen=True):
    """.open/<dag>/<n>.json: a run that was built."""

    dag_id: str
    run_id: str
    folder: str
    """The name of its folder."""


class RunAhead(NamedTuple):
    """A run that was built before another one."""

    run: RunFolder
    noted: OpenRun
    note: UPath

    def forget(self) -> None:
        """Remove the note of a run that is over."""
        self.note.unlink(missing_ok=True)


def runs_ahead(run: RunFolder, *, dag_id: str, run_id: str, keeps_number: bool) -> Iterator[RunAhead]:
    """Note a run whose plan has landed, and yield those that were noted before it, first to last.

    keeps_number: whether a number that it has stays: where it waits, or has sent something. Otherwise it had stopped
    while others went on, and goes behind them.
    """
    folder = run.path.parent.parent / ".open" / run.path.parent.name
    mine = OpenRun(dag_id, run_id, run.path.name)
    before = {number: read_json(folder / f"{number}.json", OpenRun) for number in _numbers(folder)}
    own = [number for number, noted in before.items() if noted == mine]
    number = max(own, default=0) if keeps_number else 0
    if not number:
        number = max(before, default=0) + 1
        while not create_exclusive(folder / f"{number}.json", mine):
            before[number] = read_json(folder / f"{number}.json", OpenRun)
            number += 1
    for other in own:
        if other != number:
            (folder / f"{other}.json").unlink(missing_ok=True)
    for other, noted in sorted(before.items()):
        if other < number and noted is not None and noted != mine:
            yield RunAhead(RunFolder(run.path.parent / noted.folder), noted, folder / f"{other}.json")


def _numbers(folder: UPath) -> list[int]:
    return [int(match[1]) for name in fresh_names(folder) if (match := _NAME.fullmatch(name))]
