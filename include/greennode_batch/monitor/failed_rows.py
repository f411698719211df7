"""Failed rows: some of a run's rows that have no answer, with their keys and reasons, and a count of each reason."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.errors import ConfigError
from greennode_batch.monitor.shown_text import shown_text
from greennode_batch.monitor.staged_run import StagedRun, StagedShard
from greennode_batch.staging.folders import RunFolder, ShardFolder, local_copy
from greennode_batch.staging.parquet import read_table
from greennode_batch.state.attempts import FIRST_ATTEMPT, settling_shards
from greennode_batch.state.joined_shard import read_joined
from greennode_batch.state.plan import Plan
from greennode_batch.state.row_status import RowStatus
from greennode_batch.state.stops import Stop, stops_of
from greennode_batch.write.join import join_shard

SHOWN_ROWS = 20
_SECONDS = 4.0
_MAX_SHARDS = 40
_REASONS = 8
_SHOWN = ("model", "status", "error", "batch_id")
_REASON_CHARACTERS = 120


class FailedRow(msgspec.Struct, frozen=True):
    """A row without an answer. key: the target's key columns, as text: the source's, then `model` and `sample`."""

    key: tuple[str, ...]
    model: str
    status: str
    error: str
    batch_id: str | None


class Reason(msgspec.Struct, frozen=True):
    """How many of the rows searched so far have this status, for this reason."""

    status: str
    error: str
    rows: int


class FailedRows(msgspec.Struct, frozen=True):
    """The first of a run's rows without an answer. searched: how many shards were searched for rows and reasons.

    left: more shards have such rows. problem: why nothing can be shown, if so. stops: why nothing more is sent, of the
    run or of a model, with samples.
    """

    key: tuple[str, ...]
    rows: tuple[FailedRow, ...]
    reasons: tuple[Reason, ...]
    searched: int
    left: int
    problem: str | None = None
    stops: tuple[Stop, ...] = ()


def failed_rows(
    folder: RunFolder,
    run: StagedRun,
    *,
    status: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> FailedRows:
    """Search shard by shard, for four seconds at most. Holds a part of one shard.

    status: only rows with this status.
    """
    plan = run.plan
    if plan is None:
        return FailedRows((), (), (), 0, 0, stops=tuple(stops_of(folder)))
    candidates = list({shard.planned_id: shard for shard in run.shards if _may_have_some(shard, plan)}.values())
    # Its rows are joined once all its halves are collected.
    partly = {shard.planned_id for shard in run.shards if shard.half_of and shard.stage != "collected"}
    candidates = [shard for shard in candidates if shard.planned_id not in partly]
    until = clock() + _SECONDS
    rows: list[FailedRow] = []
    reasons: Counter[tuple[str, str]] = Counter()
    problems: list[str] = []
    done = 0
    for shard in candidates[:_MAX_SHARDS]:
        if clock() > until:
            break
        done += 1
        try:
            for some in _without_answer(folder, shard, plan, status):
                reasons.update(_reasons(some))
                rows += _rows(some.slice(0, SHOWN_ROWS - len(rows)), plan)
        except (ConfigError, OSError, pa.ArrowException) as error:
            problems.append(_damaged(folder.shard(shard.planned_id), error))
    return FailedRows(
        key=plan.target_key,
        rows=tuple(rows),
        reasons=tuple(
            Reason(status, error, count)
            for (status, error), count in heapq.nlargest(_REASONS, reasons.items(), key=lambda item: item[1])
        ),
        searched=done,
        left=len(candidates) - done,
        problem="; ".join(problems) or None,
        stops=tuple(stops_of(folder)),
    )


def _may_have_some(shard: StagedShard, plan: Plan) -> bool:
    """Whether a shard of the first attempt may have rows without an answer; later results are joined to it."""
    if shard.attempt != FIRST_ATTEMPT:
        return False
    if shard.stage == "empty":
        return True
    if shard.stage != "collected" or shard.receipt is None:
        return False
    return plan.unsent > 0 or shard.has_refused or set(shard.receipt.statuses) != {RowStatus.SUCCEEDED}


def _without_answer(folder: RunFolder, shard: StagedShard, plan: Plan, status: str | None) -> Iterator[pa.Table]:
    path = folder.shard(shard.planned_id)
    joined = read_joined(path)
    if joined is not None and set(joined.statuses) <= {RowStatus.SUCCEEDED}:
        return
    with join_shard(path, owner=plan.owner, answer_fields=()) as joined_rows:
        for table in joined_rows:
            compare = pc.not_equal if status is None else pc.equal
            is_wanted = compare(table["status"], status or RowStatus.SUCCEEDED.value)
            yield table.select(list(dict.fromkeys([*plan.target_key, *_SHOWN]))).filter(is_wanted)


def _damaged(shard: ShardFolder, error: Exception) -> str:
    """Why a shard's rows cannot be shown, with the file that cannot be read."""
    files = [shard.source, *(one.results for one, _ in settling_shards(shard.run, shard.shard_id))]
    for path in files:
        try:
            if path.exists():
                with local_copy(path) as copy:
                    read_table(copy)
        except (OSError, pa.ArrowException) as damage:
            return f"{path} is damaged and cannot be read ({damage})"
    return str(error)


def _reasons(rows: pa.Table) -> Counter[tuple[str, str]]:
    errors = pc.utf8_slice_codeunits(pc.fill_null(rows["error"], ""), 0, _REASON_CHARACTERS)
    pairs = pa.table({"status": rows["status"], "error": errors})
    counted = pairs.group_by(["status", "error"]).aggregate([([], "count_all")]).to_pylist()
    return Counter({(entry["status"], entry["error"]): entry["count_all"] for entry in counted})


def _rows(rows: pa.Table, plan: Plan) -> list[FailedRow]:
    return [
        FailedRow(
            key=tuple(shown_text(row[column]) for column in plan.target_key),
            model=row["model"],
            status=row["status"],
            error=shown_text(row["error"] or ""),
            batch_id=row["batch_id"],
        )
        for row in rows.to_pylist()
    ]
