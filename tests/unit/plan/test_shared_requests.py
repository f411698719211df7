"""A backfill: runs of several days on one table, in any order and side by side."""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.profile import ApiProfile
from greennode_batch.collect.results import RESULT_FIELDS
from greennode_batch.incremental.target_lookup import TableLookup
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget
from greennode_batch.plan.build import build
from greennode_batch.plan.shared_requests import shared_requests, unsent_requests
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import RunFolder, run_folder
from greennode_batch.state.open_runs import runs_ahead
from greennode_batch.state.plan import Plan, read_plan
from greennode_batch.state.receipts import Receipt, write_receipt
from greennode_batch.tables.open_table import sql_table
from greennode_batch.write.join import join_shard
from greennode_batch.write.target_writer import prepare_targets, write_shard

FIELDS = AnswerReader(None).fields
DAY = 86_400.0

# For each day the rows of its query: what a request says, and what it only carries.
days_of_rows = st.lists(
    st.dictionaries(st.integers(1, 4), st.sampled_from(["x", "y"]), min_size=1, max_size=4), min_size=2, max_size=4
)


class Backfill:
    """Builds days of one job, answers them without a server, and counts what was sent."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, days: Sequence[Mapping[int, str]]) -> None:
        self.root = folder / "staging"
        self.days = days
        target = SqlTarget(conn_id="db", table="answers")
        self.job = BatchJob(
            name="own",
            source=SqlSource(conn_id="db", sql="SELECT 1"),
            key="id",
            carry=("day",),
            model="m",
            prompt="{{ text }}",
            target=target,
            orphaned_rows="ignore",
        )
        self.table = sql_table(connection, "answers", ("id",))
        self.now = 1e9
        self.asked: Counter[tuple[int, str]] = Counter()
        self.open: dict[int, tuple[RunFolder, Plan]] = {}
        self.over: set[str] = set()

    def build(self, day: int, *, waits: bool) -> bool:
        """Build a day; whether it may be sent, for no run ahead asks the same."""
        self.now += 1
        run = run_folder(self.root, "own", f"day {day}")
        rows = [(number, text, day) for number, text in self.days[day].items()]
        plan = build(
            self.job,
            lambda: Rows.from_tuples(("id", "text", "day"), [rows] if rows else []),
            run,
            run_id=f"day {day}",
            profile=ApiProfile(),
            target_lookups=[TableLookup(self.table, job_id="own")],
            data_until=1e9 + day * DAY,
            renews=True,
            clock=lambda: self.now,
        )
        prepare_targets([self.table], run, plan, answer_fields=FIELDS)
        unsent = unsent_requests(run, plan)
        for ahead in runs_ahead(run, dag_id="own", run_id=f"day {day}", keeps_number=waits):
            if ahead.noted.run_id not in self.over and shared_requests(unsent, ahead.run, read_plan(ahead.run)):
                return False
        self.open[day] = run, plan
        for row in self.rows(run, plan):
            if row["custom_id"] and row["copied"] is None:
                self.asked[row["id"], self.days[day][row["id"]]] += 1
        return True

    def rows(self, run: RunFolder, plan: Plan) -> Iterator[dict[str, Any]]:
        for planned in plan.shards:
            for row in pq.read_table(str(run.shard(planned.shard_id).source)).to_pylist():
                yield {**row, "copied": planned.copied_into or None}

    def end(self, day: int) -> None:
        """Answer what a day asks, and write it."""
        run, plan = self.open.pop(day)
        for planned in plan.shards:
            shard = run.shard(planned.shard_id)
            if planned.requests:
                ids = sorted(set(pq.read_table(str(shard.source))["custom_id"].to_pylist()))
                given_values = {"custom_id": ids, "status": ["succeeded"] * len(ids), "answer": ids}
                schema = pa.schema([*RESULT_FIELDS, *FIELDS])
                columns = [given_values.get(field.name, pa.nulls(len(ids), field.type)) for field in schema]
                pq.write_table(pa.table(columns, schema=schema), str(shard.results))
                write_receipt(shard, Receipt(shard_id=shard.shard_id, state="collected", file_id="f", batch_id="b"))
            with join_shard(shard, owner=plan.owner, answer_fields=FIELDS) as joined:
                write_shard(shard, joined, [self.table], key=("id",))
        self.over.add(f"day {day}")


@settings(max_examples=20, deadline=None)
@given(days=days_of_rows, data=st.data())
def test_days_in_any_order_and_side_by_side_end_in_the_same_table(days, data) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(sqlite3.connect(f"{folder}/target.db")) as connection,
    ):
        backfill = Backfill(Path(folder), connection, days)
        to_build = data.draw(st.permutations(range(len(days))))
        waiting: list[int] = []
        while to_build or waiting or backfill.open:
            steps = {"build": to_build, "end": backfill.open, "again": waiting}
            match data.draw(st.sampled_from([step for step, days_of in steps.items() if days_of])):
                case "build":
                    if not backfill.build(day := to_build.pop(), waits=False):
                        waiting.append(day)
                case "end":
                    backfill.end(data.draw(st.sampled_from(sorted(backfill.open))))
                case _ if backfill.build(day := data.draw(st.sampled_from(waiting)), waits=True):
                    waiting.remove(day)
        latest = {number: (text, day) for day, rows in enumerate(days) for number, text in rows.items()}
        held = dict(connection.execute("SELECT id, day FROM answers"))
        assert held == {number: day for number, (_, day) in latest.items()}
        for number, (text, _) in latest.items():
            if all(rows.get(number, text) == text for rows in days):
                assert backfill.asked[number, text] == 1
