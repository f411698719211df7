"""Join scenes: workers that join an older and a newer run into one table and one dataset, or one run twice."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.batches.submit import submit
from greennode_batch.collect.collect import collect_shard
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget, SqlTarget
from greennode_batch.plan.build import build
from greennode_batch.reconcile.report import check_balanced, report
from greennode_batch.reconcile.written_targets import written_rows
from greennode_batch.state.plan import read_plan
from greennode_batch.tables.open_table import sql_table
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.final_outcomes import FinalOutcomes
from greennode_batch.write.join import join_shard
from greennode_batch.write.target_writer import OpenTarget, write_shard
from greennode_faults.interleavings.ground import TABLE, Ground, is_locked
from greennode_faults.interleavings.scene import Scene, SourceRows, Work, source
from greennode_faults.interleavings.small_api import BATCH_SECONDS, answer_to
from greennode_faults.interleavings.workers import sleep

# Row 1 changes between the runs; each is one shard.
_OLDER: SourceRows = ((1, "one"), (2, "two"), (3, "three"))
_NEWER: SourceRows = ((1, "un"), (4, "four"), (5, "five"))
_RUNS = {"older": _OLDER, "newer": _NEWER}
_SQL_TARGET = SqlTarget(conn_id="database", table=TABLE)
_TRIES = 4
_AGAIN_SECONDS = 15.0
_COLUMNS = ("id", "run_id", "status", "answer", "custom_id")


def join_scenes() -> Iterator[Scene]:
    """All of them."""
    older, newer = _joins("older"), _joins("newer")
    yield _scene("an older and a newer run", (older, newer))
    yield _scene("a newer run twice, over an older one's rows", (newer, newer), joined=("older",))
    yield _scene("an older run twice and a newer one", (older, newer, older))


def _scene(name: str, works: Sequence[Work], *, joined: Sequence[str] = ()) -> Scene:
    prepare = _collected(joined)
    return Scene("join", name, works, prepare, _finish, _wrong, runs=tuple(_RUNS), wrong_at_once=_lacking)


def _job(ground: Ground) -> BatchJob:
    return BatchJob(
        name="job",
        source=FileSource(path="rows"),
        target=(_SQL_TARGET, FileTarget(path=str(ground.dataset))),
        key="id",
        model="model",
        prompt="{{ text }}",
        canary=0,
        max_shard_requests=3,
    )


def _collected(joined: Sequence[str]) -> Callable[[Ground], None]:
    """Runs that are all collected, one after the other; some are joined as well."""

    def prepare(ground: Ground) -> None:
        client = ground.clients[0]
        for run_id, rows in _RUNS.items():
            run, read = ground.run(run_id), partial(source, rows)
            plan = build(_job(ground), read, run, run_id=run_id, profile=client.profile, clock=ground.clock)
            for planned in plan.shards:
                shard = run.shard(planned.shard_id)
                submit(shard, client, clock=ground.clock, sleep=sleep)
                sleep(BATCH_SECONDS)
                collect_shard(shard, client, None, clock=ground.clock, sleep=sleep)
            if run_id in joined:
                _join(ground, run_id)

    return prepare


def _joins(run_id: str) -> Work:
    """The tasks of a run after its results are collected; each is tried again if the database is locked."""

    def work(ground: Ground, _place: int) -> None:
        for tries_left in reversed(range(_TRIES)):
            try:
                _join(ground, run_id)
            except Exception as error:
                if not tries_left or not is_locked(error):
                    raise
                sleep(_AGAIN_SECONDS)
            else:
                return

    return work


def _join(ground: Ground, run_id: str) -> None:
    run, reader = ground.run(run_id), AnswerReader(None)
    plan = read_plan(run)
    assert plan is not None
    for planned in plan.shards:
        shard, final = run.shard(planned.shard_id), FinalOutcomes(run, plan)
        with (
            join_shard(shard, owner=plan.owner, answer_fields=reader.fields, final=final) as joined,
            closing(ground.database()) as connection,
        ):
            write_shard(shard, joined, _targets(ground, connection, run_id), key=plan.target_key)
    with closing(ground.database()) as connection:
        targets = _targets(ground, connection, run_id)
        written = written_rows(run, targets, run_id=run_id)
        check_balanced(report(run, *written, clock=ground.clock))


def _targets(ground: Ground, connection: object, run_id: str) -> list[OpenTarget]:
    table = sql_table(connection, TABLE, ("id",), target_id=_SQL_TARGET.target_id)
    return [table, Dataset(ground.dataset, ground.run(run_id))]


def _finish(ground: Ground) -> None:
    for run_id in _RUNS:
        _join(ground, run_id)


_WANTED = set({key: run_id for run_id, rows in _RUNS.items() for key, _ in rows}.items())
"""Each key, with the newest run that has it."""


def _lacking(ground: Ground) -> list[str]:
    """What is missing although all reports are good. In a dataset only, an older row may remain beside it."""
    table, dataset = ([row[:2] for row in rows] for rows in (_of_table(ground), _of_dataset(ground)))
    problems = [] if sorted(table) == sorted(_WANTED) else [f"after good reports, the table has {table}"]
    if not _WANTED.issubset(dataset):
        problems.append(f"after good reports, the dataset has {dataset}")
    return problems


def _wrong(ground: Ground) -> list[str]:
    """How each row differs from the newest run's answer for it."""
    problems = []
    for name, found in {"table": _of_table(ground), "dataset": _of_dataset(ground)}.items():
        if sorted(row[:2] for row in found) != sorted(_WANTED):
            problems.append(f"the {name} has {[row[:2] for row in found]}")
        bad = [row[0] for row in found if row[2:4] != ("succeeded", answer_to(str(row[4])))]
        if bad:
            problems.append(f"the {name} has rows without their answers: {bad}")
    return problems


def _of_table(ground: Ground) -> list[tuple[object, ...]]:
    with closing(ground.database()) as connection:
        return connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM {TABLE} ORDER BY 1, 2").fetchall()  # noqa: S608


def _of_dataset(ground: Ground) -> list[tuple[object, ...]]:
    dataset = Dataset(ground.dataset, ground.run("newer"))
    rows: list[tuple[object, ...]] = []
    for path in dataset.all_files():
        for some in dataset.read(path, _COLUMNS):
            rows += map(operator.itemgetter(*_COLUMNS), some.to_pylist())
    return sorted(rows, key=str)
