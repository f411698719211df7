"""World: the real parts of a year of runs: the engine, the emulator, a database, staging, and one clock for all."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from tests.year.model import FINAL, GOOD, PASSING, Outcome, Request
from upath import UPath

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import Done
from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.submit import submit
from greennode_batch.batches.wait import poll
from greennode_batch.collect.collect import collect_shard
from greennode_batch.errors import FailedRowsError
from greennode_batch.incremental.target_lookup import TableLookup
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.plan.build import build
from greennode_batch.reconcile.record_answers import AnsweredTable
from greennode_batch.reconcile.report import check_balanced, check_failed_ratio, report
from greennode_batch.reconcile.written_targets import written_rows
from greennode_batch.retry.build_retry import build_retry
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import RunFolder, run_folder
from greennode_batch.state.attempts import FIRST_ATTEMPT, attempt_shards
from greennode_batch.state.confirmed_profile import confirm
from greennode_batch.state.plan import read_plan
from greennode_batch.tables.open_table import sql_table
from greennode_batch.tables.table_target import TableTarget
from greennode_batch.write.final_outcomes import FinalOutcomes
from greennode_batch.write.join import join_shard
from greennode_batch.write.target_writer import prepare_targets, write_shard
from greennode_emulator.server import RunningEmulator

STEPS = ("build", "attempt_1", "build_retry", "attempt_2", "join", "report")
BUILD, JOIN = STEPS.index("build"), STEPS.index("join")
_FINAL_STATUSES = {400, 413, 422}
# The emulator's threads take real time.
_MOMENT = 0.002


class Clock:
    """Epoch seconds that pass when somebody sleeps on them. It never goes back, for the emulator has it too."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        time.sleep(_MOMENT)


@dataclass
class Server:
    """The emulator as an auditor sees it: the files that were sent and those that came back."""

    emulator: RunningEmulator
    known: set[str] = field(default_factory=set)

    def news(self) -> list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
        """The request lines and the result lines of each batch since the last time, in order."""
        batches = [one for one in self.emulator.ledger()["batches"] if one["id"] not in self.known]
        self.known.update(one["id"] for one in batches)
        return [self._files(one) for one in batches]

    def _files(self, batch: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        headers = {"Authorization": f"Bearer {self.emulator.api_key}"}
        with httpx.Client(base_url=self.emulator.base_url, headers=headers, trust_env=False, verify=False) as client:
            shown = client.get(f"/batches/{batch['id']}").json()

            def lines(file_id: str | None) -> list[dict[str, Any]]:
                if not file_id:
                    return []
                content = client.get(f"/files/{file_id}/content").content
                return [json.loads(line) for line in content.splitlines() if line.strip()]

            results = lines(shown.get("output_file_id")) + lines(shown.get("error_file_id"))
            return lines(shown["input_file_id"]), results


def request_of(line: Mapping[str, Any]) -> Request:
    """What a line of a batch file asks."""
    body = line["body"]
    return (body["model"], str(body.get("max_tokens")), body["messages"][-1]["content"])


def outcome_of(line: Mapping[str, Any] | None) -> Outcome:
    """What a result line says; None where there is no such line."""
    if line is None:
        return Outcome("missing", PASSING)
    response, error = line.get("response") or {}, line.get("error") or {}
    if response.get("status_code") == 200:
        (choice,) = response["body"]["choices"]
        match choice["finish_reason"]:
            case "length":
                return Outcome("truncated", FINAL)
            case "content_filter":
                return Outcome("refused", FINAL)
        return Outcome("succeeded", GOOD)
    code = str(error.get("code") or "")
    if "expired" in code:
        return Outcome("expired", PASSING)
    return Outcome("failed", FINAL if response.get("status_code") in _FINAL_STATUSES else PASSING)


@dataclass
class Run:
    """One run of a job."""

    world: World
    job: BatchJob
    folder: RunFolder
    run_id: str
    data_until: float
    rows: Mapping[int, str] = field(default_factory=dict)
    is_failed: bool = False

    def go(self, steps: Sequence[str], rows: Mapping[int, str]) -> None:
        """Run these steps, one after the other, as tasks do. rows: of the source as it stands."""
        self.rows = rows
        for step in steps:
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
        tables = self.world.tables(self.job)
        plan = build(
            self.job,
            lambda: Rows.from_tuples(("id", "text"), [list(self.rows.items())]),
            self.folder,
            run_id=self.run_id,
            profile=ApiProfile(),
            target_lookups=[TableLookup(table, job_id=self.job.own_id, takes_over=not is_dry) for table in tables],
            data_until=self.data_until,
            clock=self.world.clock,
        )
        fields = AnswerReader(self.job.answer).fields
        prepare_targets(tables, self.folder, plan, answer_fields=fields, create=not is_dry)

    def _attempt_1(self) -> None:
        self._attempt(FIRST_ATTEMPT)

    def _build_retry(self) -> None:
        build_retry(self.job, self.folder, self._plan, attempt=2, profile=ApiProfile(), clock=self.world.clock)

    def _attempt_2(self) -> None:
        self._attempt(2)

    def _join(self) -> None:
        tables = self.world.tables(self.job)
        for planned in self._plan.shards:
            shard = self.folder.shard(planned.shard_id)
            fields = AnswerReader(self.job.answer).fields
            final = FinalOutcomes(self.folder, self._plan)
            with join_shard(shard, owner=self._plan.owner, answer_fields=fields, final=final) as joined:
                write_shard(shard, joined, tables, key=self.job.target_key)

    def _report(self) -> None:
        tables = self.world.tables(self.job)
        is_noted = self.job.cached_table is not None
        known = AnsweredTable(tables[0], self.folder, run_id=self.run_id) if is_noted else None
        written = written_rows(self.folder, tables, run_id=self.run_id)
        made = report(self.folder, *written, answered_table=known, clock=self.world.clock)
        check_balanced(made)
        try:
            check_failed_ratio(made, self.job.max_failed_ratio)
            self.is_failed = False
        except FailedRowsError:
            self.is_failed = True

    def _attempt(self, number: int) -> None:
        clock = self.world.clock
        client = self.world.client
        for shard in attempt_shards(self.folder, self._plan, number):
            submit(shard, client, clock=clock, sleep=clock.sleep)
            while not isinstance(step := poll(shard, client, now=clock()), Done):
                clock.sleep(step.seconds)
            collect_shard(shard, client, self.job.answer, clock=clock, sleep=clock.sleep)

    @property
    def _plan(self) -> Any:
        plan = read_plan(self.folder)
        assert plan is not None
        return plan


class World:
    """Everything that outlives a run."""

    def __init__(self, emulator: RunningEmulator, clock: Clock, root: Path, connection: Any) -> None:
        self.emulator = emulator
        self.server = Server(emulator)
        self.clock = clock
        self.root = root
        self.connection = connection
        self.client = GreenNodeClient(emulator.base_url, emulator.api_key, clock=clock, sleep=clock.sleep)

        self.confirm_profile()

    def confirm_profile(self) -> None:
        """Note that results were read before; else a run stops at a batch that is completed and has none."""
        confirm(UPath(self.root), self.client.host, ApiProfile(), now=self.clock())

    def tables(self, job: BatchJob) -> list[TableTarget]:
        """The job's tables."""
        return [sql_table(self.connection, target.table, job.target_key) for target in job.targets]

    def held(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table."""
        names = ("id", "model", "status", "custom_id", "run_id", "greennode_job")
        try:
            cursor = self.connection.execute(f"SELECT {', '.join(names)} FROM {name}")
            found = cursor.fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            self.connection.rollback()
        return [dict(zip(names, row, strict=True)) for row in found]

    def run(self, job: BatchJob, run_id: str, *, dag: str, data_until: float) -> Run:
        """A run of a job, which nothing has been done for yet."""
        return Run(self, job, run_folder(self.root, dag, run_id), run_id, data_until)

    def close(self) -> None:
        """Close the client."""
        self.client.close()
