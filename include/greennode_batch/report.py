"""The report: every row and every token of a run accounted for, or an error that names what is not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greennode_batch.build.plan import Plan, read_plan
from greennode_batch.collect.results import RowStatus
from greennode_batch.errors import AccountingError, ConfigError, FailedRowsError
from greennode_batch.staging import RunFolder, ShardFolder, local_copy, read_json, write_json

log = logging.getLogger(__name__)

_SHOWN_IDS = 20


class JoinedShard(msgspec.Struct, frozen=True):
    """joined.json: what one shard put into the target. Tokens are counted once a request, as they are paid."""

    rows: int
    statuses: dict[str, int]
    prompt_tokens: int
    completion_tokens: int


class RunReport(msgspec.Struct, frozen=True):
    """report.json: a run's rows by status, and the tokens that were used."""

    job: str
    run_id: str
    rows: int
    requests: int
    shards: int
    statuses: dict[str, int]
    prompt_tokens: int
    completion_tokens: int

    @property
    def succeeded(self) -> int:
        """Rows with an answer."""
        return self.statuses.get(RowStatus.SUCCEEDED, 0)

    def __str__(self) -> str:
        by_status = ", ".join(f"{count:,} {status}" for status, count in self.statuses.items()) or "none"
        return (
            f"{self.rows:,} rows ({by_status}) from {self.requests:,} requests in {self.shards:,} shards; "
            f"{self.prompt_tokens:,} prompt and {self.completion_tokens:,} completion tokens"
        )


def note_joined(shard: ShardFolder, joined: pa.Table) -> JoinedShard:
    """Write down what a shard put into the target."""
    counted = pc.value_counts(joined["status"]).to_pylist()
    prompt_tokens = completion_tokens = 0
    if shard.results.exists():
        with local_copy(shard.results) as path:
            used = pq.read_table(path, columns=["prompt_tokens", "completion_tokens"])
        prompt_tokens = pc.sum(used["prompt_tokens"]).as_py() or 0
        completion_tokens = pc.sum(used["completion_tokens"]).as_py() or 0
    note = JoinedShard(
        rows=joined.num_rows,
        statuses={entry["values"]: entry["counts"] for entry in counted},
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )
    write_json(shard.joined, note)
    return note


def report(run: RunFolder, *, target_rows: int, missing_keys: Callable[[], list[str]]) -> RunReport:
    """Account for every row of the run and write report.json.

    target_rows: how many rows of this run the target holds. missing_keys: asked only if that is not the number
    of rows in the plan. Raises AccountingError, with the ids, if a row is lost between source and target.
    """
    plan = read_plan(run)
    if plan is None:
        raise ConfigError(f"{run}: there is no plan.json, so nothing was built and nothing sent; see build_requests")
    notes = _joined_shards(run, plan)
    statuses: Counter[str] = Counter()
    for note in notes:
        statuses.update(note.statuses)
    made = RunReport(
        job=plan.job,
        run_id=plan.run_id,
        rows=plan.rows,
        requests=plan.requests,
        shards=plan.submitted_shards,
        statuses=dict(statuses.most_common()),
        prompt_tokens=sum(note.prompt_tokens for note in notes),
        completion_tokens=sum(note.completion_tokens for note in notes),
    )
    write_json(run.report, made)
    if not plan.rows == statuses.total() == target_rows:
        lost = missing_keys()
        raise AccountingError(
            f"rows do not add up: {plan.rows:,} in the source, {statuses.total():,} joined, {target_rows:,} in "
            f"the target. Not in the target: {', '.join(lost[:_SHOWN_IDS]) or 'none'}"
            f"{f' and {len(lost) - _SHOWN_IDS:,} more' if len(lost) > _SHOWN_IDS else ''}. The answers are safe "
            f"in {run}; clear join_results to write them again, at no cost"
        )
    return made


def check_failed_ratio(made: RunReport, max_failed_ratio: float) -> None:
    """Raise FailedRowsError if too large a share of the rows ended without an answer."""
    failed = made.rows - made.succeeded
    if failed > made.rows * max_failed_ratio:
        raise FailedRowsError(
            f"{failed:,} of {made.rows:,} rows ended without an answer ({made}); the job allows a share of "
            f"{max_failed_ratio:.1%} (max_failed_ratio). All rows are in the target; see its columns status and error"
        )


def source_keys(run: RunFolder, plan: Plan, key: tuple[str, ...]) -> set[tuple[object, ...]]:
    """The target's key of every row of the run, from the shards."""
    keys: set[tuple[object, ...]] = set()
    for planned in plan.shards:
        with local_copy(run.shard(planned.shard_id).source) as path:
            table = pq.read_table(path, columns=list(key))
        keys.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return keys


def _joined_shards(run: RunFolder, plan: Plan) -> list[JoinedShard]:
    notes = {shard.shard_id: read_json(run.shard(shard.shard_id).joined, JoinedShard) for shard in plan.shards}
    absent = [shard_id for shard_id, note in notes.items() if note is None]
    if absent:
        raise AccountingError(
            f"{len(absent):,} of {len(notes):,} shards are not joined yet: {', '.join(absent[:_SHOWN_IDS])}. "
            "See their tasks; clearing those goes on from where they stopped and pays nothing twice"
        )
    return [note for note in notes.values() if note is not None]
