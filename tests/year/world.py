"""World: the real parts of a year of runs: the engine, the emulator, a database, staging, and one clock for all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
from tests.year.databases import Database
from tests.year.jobs import COLUMNS, DATASET, TABLES
from tests.year.server import Server
from tests.year.source_keys import SourceKeys
from upath import UPath

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import Done
from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.live_choice import goes_live
from greennode_batch.batches.live_shard import answer_live
from greennode_batch.batches.submit import submit
from greennode_batch.batches.wait import SendAgain, poll
from greennode_batch.collect.collect import collect_shard
from greennode_batch.errors import FailedRowsError, RetryableError
from greennode_batch.incremental.target_lookup import TableLookup, TargetLookup
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import SqlTarget
from greennode_batch.plan.build import build
from greennode_batch.reconcile.record_answers import AnsweredTable
from greennode_batch.reconcile.report import check_balanced, check_failed_ratio, report
from greennode_batch.reconcile.written_targets import written_rows
from greennode_batch.retry.build_retry import build_retry
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import RunFolder, ShardFolder, run_folder
from greennode_batch.state.attempts import FIRST_ATTEMPT, attempt_shards
from greennode_batch.state.confirmed_profile import confirm
from greennode_batch.state.plan import read_plan
from greennode_batch.tables.open_table import sql_table
from greennode_batch.tables.table_target import TableTarget
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.file_lookup import file_lookup
from greennode_batch.write.final_outcomes import FinalOutcomes
from greennode_batch.write.join import join_shard
from greennode_batch.write.target_writer import OpenTarget, prepare_targets, write_shard
from greennode_emulator.server import RunningEmulator

STEPS = ("build", "attempt_1", "build_retry", "attempt_2", "join", "report")
BUILD, JOIN, REPORT = map(STEPS.index, ("build", "join", "report"))
# The emulator's threads take real time.
_MOMENT = 0.002
_TRIES = 20
_AGAIN_SECONDS = 15.0


class StoppedError(BaseException):
    """The worker is killed."""


class Clock:
    """Epoch seconds that pass when somebody sleeps on them. It never goes back, for the emulator has it too."""

    def __init__(self) -> None:
        # Summer time ends within the first days, and the years that follow have all of its other changes.
        self.now = datetime(2026, 10, 20, tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        time.sleep(_MOMENT)


class Line(httpx.HTTPTransport):
    """The network. stop_at: where a worker is killed; it passes twice for each request, before it and after it.

    Polls do not count: how many there are is a matter of real time.
    """

    stop_at: int | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, unless the worker is killed before."""
        is_poll = request.method == "GET" and "/batches/" in request.url.path
        self._pass(is_poll=is_poll)
        reply = super().handle_request(request)
        self._pass(is_poll=is_poll)
        return reply

    def _pass(self, *, is_poll: bool) -> None:
        if self.stop_at is None or is_poll:
            return
        self.stop_at -= 1
        if self.stop_at < 0:
            self.stop_at = None
            raise StoppedError


@dataclass
class Run:
    """One run of a job."""

    world: World
    job: BatchJob
    folder: RunFolder
    run_id: str
    data_until: float
    limit: int | None = None
    rows: Mapping[int, str] = field(default_factory=dict)
    is_failed: bool = False
    live_lines: dict[str, bytes] = field(default_factory=dict)

    def go(self, step: str, rows: Mapping[int, str]) -> None:
        """Run this step, as tasks do. rows: of the source as it stands."""
        self.rows = rows
        getattr(self, f"_{step}")()

    def build_dry(self, rows: Mapping[int, str]) -> None:
        """Build, to show what would be sent."""
        self.rows = rows
        self._build(is_dry=True)

    @property
    def order(self) -> tuple[float, float]:
        """By what runs are later than others."""
        return self.data_until, self._plan.created_at

    def _build(self, *, is_dry: bool = False) -> None:
        keys = self.world.keys
        rows = [(keys.of(number), text) for number, text in self.rows.items()]
        targets = self._targets()
        with ExitStack() as stack:

            def lookup(target: OpenTarget) -> TargetLookup:
                if isinstance(target, TableTarget):
                    return TableLookup(target, job_id=self.job.own_id, takes_over=not is_dry)
                return stack.enter_context(file_lookup(target, self.job.target_key, job_id=self.job.own_id))

            plan = build(
                self.job,
                lambda: Rows.from_tuples(("id", "text"), [rows]),
                self.folder,
                run_id=self.run_id,
                profile=ApiProfile(),
                target_lookups=[lookup(target) for target in targets],
                data_until=self.data_until,
                limit=self.limit,
                clock=self.world.clock,
            )
        prepare_targets(targets, self.folder, plan, answer_fields=self._reader.fields, create=not is_dry)

    def _attempt_1(self) -> None:
        self._attempt(FIRST_ATTEMPT)

    def _build_retry(self) -> None:
        build_retry(self.job, self.folder, self._plan, attempt=2, profile=ApiProfile(), clock=self.world.clock)

    def _attempt_2(self) -> None:
        self._attempt(2)

    def _join(self) -> None:
        for planned in self._plan.shards:
            shard, final = self.folder.shard(planned.shard_id), FinalOutcomes(self.folder, self._plan)
            with join_shard(shard, owner=self._plan.owner, answer_fields=self._reader.fields, final=final) as joined:
                write_shard(shard, joined, self._targets(), key=self.job.target_key)

    def _report(self) -> None:
        targets = self._targets()
        cached = [one for one in targets if isinstance(one, TableTarget)] if self.job.cached_table is not None else []
        known = AnsweredTable(cached[0], self.folder, run_id=self.run_id) if cached else None
        written = written_rows(self.folder, targets, run_id=self.run_id)
        made = report(self.folder, *written, answered_table=known, clock=self.world.clock)
        check_balanced(made)
        try:
            check_failed_ratio(made, self.job.max_failed_ratio)
            self.is_failed = False
        except FailedRowsError:
            self.is_failed = True

    def _attempt(self, number: int) -> None:
        for shard in attempt_shards(self.folder, self._plan, number):
            for tries_left in reversed(range(_TRIES)):
                try:
                    self._carry(shard)
                    break
                except RetryableError as error:
                    if not tries_left:
                        raise
                    self.world.clock.sleep(error.retry_after or _AGAIN_SECONDS)

    def _carry(self, shard: ShardFolder) -> None:
        """Take a shard to its results, as its tasks do."""
        clock, client = self.world.clock, self.world.client
        if goes_live(self.job, shard, clock=clock):
            with shard.requests.open("rb") as lines:
                self.live_lines |= {line.partition(b'"custom_id":"')[2][:32].decode(): line for line in lines}
            answer_live(shard, client, clock=clock, sleep=clock.sleep)
        else:
            submit(shard, client, clock=clock, sleep=clock.sleep)
        while not isinstance(step := poll(shard, client, now=clock()), Done):
            clock.sleep(step.seconds)
            if isinstance(step, SendAgain):
                submit(shard, client, clock=clock, sleep=clock.sleep)
        ratio = self.job.min_read_ratio
        collect_shard(shard, client, self.job.answer, min_read_ratio=ratio, clock=clock, sleep=clock.sleep)

    @property
    def _reader(self) -> AnswerReader:
        return AnswerReader(self.job.answer)

    def _targets(self) -> list[OpenTarget]:
        """The job's targets, opened."""
        world = self.world
        return [
            sql_table(
                world.database.connection,
                target.table,
                self.job.target_key,
                add_columns=target.add_columns,
                target_id=target.target_id,
            )
            if isinstance(target, SqlTarget)
            else Dataset(UPath(target.path), self.folder)
            for target in self.job.targets
        ]

    @property
    def _plan(self) -> Any:
        plan = read_plan(self.folder)
        assert plan is not None
        return plan


class World:
    """Everything that outlives a run."""

    def __init__(
        self, emulator: RunningEmulator, clock: Clock, folder: Path, database: Database, keys: SourceKeys
    ) -> None:
        self.emulator = emulator
        self.server = Server(emulator)
        self.clock = clock
        self.folder = folder
        self.root = folder / "staging"
        self.database = database
        self.keys = keys
        self.line = Line(verify=False)
        self.client = GreenNodeClient(
            emulator.base_url, emulator.api_key, transport=self.line, clock=clock, sleep=clock.sleep
        )
        self.root.mkdir()
        self.confirm_profile()

    @property
    def dataset(self) -> Path:
        """The folder of the dataset."""
        return self.folder / DATASET

    def confirm_profile(self) -> None:
        """Note that results were read before; else a run stops at a batch that is completed and has none."""
        confirm(UPath(self.root), self.client.host, ApiProfile(), now=self.clock())

    def held(self, name: str) -> list[dict[str, Any]]:
        """The rows of a target, with the numbers of their keys. A dataset may hold several of one key."""
        if name in TABLES:
            columns, found = self.database.rows(name)
            rows = [dict(zip(columns, row, strict=True)) for row in found]
        else:
            paths = sorted(self.dataset.glob("[!._]*.parquet"))
            rows = [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]
        return [dict.fromkeys(COLUMNS) | row | {"id": self.keys.number(row["id"])} for row in rows]

    def lose_staging(self) -> None:
        """The disk of staging is lost, with all runs."""
        shutil.rmtree(self.root)
        self.root.mkdir()
        self.confirm_profile()

    def run(self, job: BatchJob, run_id: str, *, dag: str, data_until: float, limit: int | None) -> Run:
        """A run of a job, which nothing has been done for yet."""
        return Run(self, job, run_folder(self.root, dag, run_id), run_id, data_until, limit)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
        self.server.close()
