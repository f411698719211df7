"""Scenes: what two or three workers do to one run, and the staging that they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pyarrow.parquet as pq

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import Wait
from greennode_batch.batches.live_shard import answer_live
from greennode_batch.batches.submit import submit
from greennode_batch.batches.wait import SendAgain, poll
from greennode_batch.collect.collect import collect_shard
from greennode_batch.errors import RetryableError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.live_mode import Live
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.plan.build import build
from greennode_batch.retry.build_retry import build_retry
from greennode_batch.run import run_to_file
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.attempts import FIRST_ATTEMPT, attempt_shards
from greennode_batch.state.plan import Plan, read_plan
from greennode_faults.interleavings.ground import Ground
from greennode_faults.interleavings.join_scenes import join_scenes
from greennode_faults.interleavings.scene import MAX_ATTEMPTS, TWO, Scene, SourceRows, Work, source
from greennode_faults.interleavings.small_api import BATCH_SECONDS, Trouble, answer_to
from greennode_faults.interleavings.workers import sleep

LIVE = "live"
"""The kind of the scenes of live answers."""
Send = Callable[..., object]
_TRIES = 4
_AGAIN_SECONDS = 15.0


def job_of(ground: Ground, *, live: Live | None = None) -> BatchJob:
    """A job of small shards."""
    return BatchJob(
        name="job",
        source=FileSource(path="rows"),
        target=FileTarget(path=str(ground.out)),
        key="id",
        model="model",
        prompt="{{ text }}",
        canary=0,
        max_failed_ratio=1.0,
        max_shard_requests=2,
        attempts=MAX_ATTEMPTS,
        live=live,
    )


def _scene(
    kind: str,
    name: str,
    works: Sequence[Work],
    prepare: Callable[[Ground], None],
    trouble: Trouble | None = None,
    *,
    rows: SourceRows = TWO,
    before: SourceRows | None = None,
    live: Live | None = None,
) -> Scene:
    """A scene of one run.

    rows: of the source when the last worker reads it. before: when the others do, if that differs: these are the run's
    rows if the last worker was the first to begin. live: of the job.
    """
    wanted = [rows] if before is None else [rows, before]
    finish, wrong = partial(_finish, rows=rows, live=live), partial(_wrong, wanted=wanted)
    return Scene(kind, name, works, prepare, finish, wrong, trouble or Trouble())


def _finish(ground: Ground, *, rows: SourceRows, live: Live | None) -> None:
    """Take the run to its end, once the batches that were sent have ended."""
    run_to_file(
        job_of(ground, live=live),
        lambda: source(rows),
        ground.clients[-1],
        ground.run(),
        ground.out,
        run_id="run",
        clock=ground.clock,
        sleep=sleep,
    )


def _wrong(ground: Ground, *, wanted: Sequence[SourceRows]) -> list[str]:
    problems = []
    rows = pq.read_table(ground.out, columns=["id", "status", "answer", "custom_id"]).to_pylist()
    keys = sorted(row["id"] for row in rows)
    if keys not in [sorted(key for key, _ in one) for one in wanted]:
        problems.append(f"the target has rows {keys}")
    bad = [row["id"] for row in rows if (row["status"], row["answer"]) != ("succeeded", answer_to(row["custom_id"]))]
    if bad:
        problems.append(f"rows without their answers: {bad}")
    strangers = ground.api.billed.keys() - {row["custom_id"] for row in rows}
    if strangers:
        problems.append(f"{len(strangers)} answers paid for that no row asks for")
    return problems


def _build(ground: Ground, index: int, rows: SourceRows) -> Plan:
    profile = ground.clients[index].profile
    job = job_of(ground)
    return build(job, lambda: source(rows), ground.run(), run_id="run", profile=profile, clock=ground.clock)


def _carry(ground: Ground, client: GreenNodeClient, shard: ShardFolder, send: Send = submit) -> None:
    """Take a shard to its results, as its three tasks do; each is tried again after a retryable error."""
    for tries_left in reversed(range(_TRIES)):
        try:
            _carry_once(ground, client, shard, send)
        except RetryableError as error:
            if not tries_left:
                raise
            sleep(error.retry_after or _AGAIN_SECONDS)
        else:
            return


def _carry_once(ground: Ground, client: GreenNodeClient, shard: ShardFolder, send: Send) -> None:
    send(shard, client, clock=ground.clock, sleep=sleep)
    while isinstance(step := poll(shard, client, now=ground.clock()), Wait | SendAgain):
        # A worker that waits leaves that to the triggerer, which wakes a task near the end.
        sleep(max(step.seconds, BATCH_SECONDS / 2))
        if isinstance(step, SendAgain):
            submit(shard, client, clock=ground.clock, sleep=sleep)
    collect_shard(shard, client, None, clock=ground.clock, sleep=sleep)


def _carry_planned(ground: Ground, index: int, send: Send = submit) -> None:
    plan = read_plan(ground.run())
    assert plan is not None
    for shard in attempt_shards(ground.run(), plan, FIRST_ATTEMPT):
        _carry(ground, ground.clients[index], shard, send)


def _built(rows: SourceRows) -> Callable[[Ground], None]:
    def prepare(ground: Ground) -> None:
        _build(ground, 0, rows)

    return prepare


def _shard_scenes() -> Iterator[Scene]:
    troubles: dict[str, Trouble] = {
        "submit, wait, collect": Trouble(),
        "its create is refused for capacity": Trouble(refused=1),
        "its batch ends for lack of capacity": Trouble(over_capacity=1),
        "its create gets no reply": Trouble(unanswered=1),
        "a line is missing": Trouble(lacking=1),
    }
    for name, trouble in troubles.items():
        yield _scene("shard", name, (_carry_planned, _carry_planned), _built(TWO), trouble)
    yield _scene(
        "shard",
        "three workers, its batch ends for lack of capacity",
        (_carry_planned,) * 3,
        _built(TWO),
        Trouble(over_capacity=1),
    )


def _builds_and_carries(rows: SourceRows) -> Work:
    """The tasks of a run's first attempt, over a source that has these rows when it is read."""

    def work(ground: Ground, index: int) -> None:
        plan = _build(ground, index, rows)
        for shard in attempt_shards(ground.run(), plan, FIRST_ATTEMPT):
            _carry(ground, ground.clients[index], shard)

    return work


def _build_scenes() -> Iterator[Scene]:
    changed: SourceRows = ((1, "one"), (2, "deux"))
    more: SourceRows = (*TWO, (3, "three"))
    same: SourceRows = (*TWO, (3, "one"))
    two = _builds_and_carries(TWO)
    yield _scene("build", "two at once, of one source", (two, two), _nothing)
    for name, rows in {"changed": changed, "more rows": more, "a row that asks the same": same}.items():
        later = _builds_and_carries(rows)
        yield _scene("build", f"the later one has {name}", (two, later), _nothing, rows=rows, before=TWO)
        yield _scene(
            "build", f"built before, the later one has {name}", (two, later), _built(TWO), rows=rows, before=TWO
        )
        yield _scene("build", f"sent before, the later one has {name}", (two, later), _sent(TWO), rows=rows, before=TWO)


def _nothing(ground: Ground) -> None:
    """Nothing is staged."""


def _sent(rows: SourceRows) -> Callable[[Ground], None]:
    def prepare(ground: Ground) -> None:
        plan = _build(ground, 0, rows)
        submit(ground.run().shard(plan.shards[0].shard_id), ground.clients[0], clock=ground.clock, sleep=sleep)

    return prepare


def _retry_scenes() -> Iterator[Scene]:
    four: SourceRows = (*TWO, (3, "three"), (4, "four"))
    for name, whole in {"all is collected": True, "the later one has more to ask": False}.items():
        later = _retries if whole else _collects_and_retries
        yield _scene("retry", name, (_retries, later), _collected(four, whole=whole), Trouble(lacking=2), rows=four)


def _retries(ground: Ground, index: int) -> None:
    """The tasks of a run's second attempt."""
    plan, client = read_plan(ground.run()), ground.clients[index]
    assert plan is not None
    profile = client.profile
    retry = build_retry(job_of(ground), ground.run(), plan, attempt=2, profile=profile, clock=ground.clock)
    for sent in retry.planned:
        _carry(ground, client, sent.folder(ground.run()))


def _collects_and_retries(ground: Ground, index: int) -> None:
    _carry_planned(ground, index)
    _retries(ground, index)


def _collected(rows: SourceRows, *, whole: bool) -> Callable[[Ground], None]:
    """All shards are collected, or only the first; each batch has lost one of its answers."""

    def prepare(ground: Ground) -> None:
        plan = _build(ground, 0, rows)
        for shard in attempt_shards(ground.run(), plan, FIRST_ATTEMPT)[: None if whole else 1]:
            _carry(ground, ground.clients[0], shard)

    return prepare


def _live_scenes() -> Iterator[Scene]:
    """Workers of one shard that is answered live, and of one that a worker sends as a batch."""
    live, batch = partial(_carry_planned, send=answer_live), _carry_planned
    whole = Live(under=100)
    yield _scene(LIVE, "two workers", (live, live), _built(TWO), live=whole)
    yield _scene(LIVE, "a reply is lost", (live, live), _built(TWO), Trouble(chats_unanswered=1), live=whole)
    yield _scene(LIVE, "three workers", (live, live, live), _built(TWO), live=whole)
    yield _scene(LIVE, "one live, one as a batch", (live, batch), _built(TWO), live=whole)


def scenes() -> list[Scene]:
    """All of them."""
    return [*_shard_scenes(), *_build_scenes(), *_retry_scenes(), *join_scenes(), *_live_scenes()]
