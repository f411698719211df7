"""Answer sample: the first of a run's rows that have an answer, with their keys, as they go into the target."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greennode_batch.collect.results import RESULT_FIELDS
from greennode_batch.errors import ConfigError
from greennode_batch.monitor.shown_text import shown_text
from greennode_batch.monitor.staged_run import StagedRun, StagedShard
from greennode_batch.staging.folders import RunFolder, ShardFolder, local_copy
from greennode_batch.state.attempts import FIRST_ATTEMPT
from greennode_batch.state.plan import Plan
from greennode_batch.state.row_status import RowStatus
from greennode_batch.write.join import join_shard

SHOWN_ANSWERS = 5
_SECONDS = 4.0
_RESULT_NAMES = frozenset(field.name for field in RESULT_FIELDS)


class AnsweredRow(msgspec.Struct, frozen=True):
    """A row with its answer, as text. key: by the target's key columns; values: by the answer's columns."""

    key: tuple[str, ...]
    model: str
    values: tuple[str, ...]


class AnswerSample(msgspec.Struct, frozen=True):
    """Some rows with an answer. columns: the answer's. problem: why nothing can be shown, if so."""

    key: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[AnsweredRow, ...] = ()
    problem: str | None = None


def answer_sample(folder: RunFolder, run: StagedRun, *, clock: Callable[[], float] = time.monotonic) -> AnswerSample:
    """The first rows with an answer, of the first shards that have any; takes four seconds at most."""
    plan = run.plan
    if plan is None:
        return AnswerSample()
    until = clock() + _SECONDS
    columns: tuple[str, ...] = ()
    rows: list[AnsweredRow] = []
    problem = None
    for shard in {shard.planned_id: shard for shard in run.shards if _may_have_some(shard)}.values():
        if len(rows) >= SHOWN_ANSWERS or clock() > until:
            break
        try:
            fields = _answer_fields(folder.shard(shard.shard_id))
            columns = tuple(field.name for field in fields)
            for some in _answered(folder.shard(shard.planned_id), plan, fields):
                rows += _rows(some.slice(0, SHOWN_ANSWERS - len(rows)), plan, columns)
                if len(rows) >= SHOWN_ANSWERS:
                    break
        except (ConfigError, OSError, pa.ArrowException) as error:
            problem = str(error)
    return AnswerSample(plan.target_key, columns, tuple(rows), problem)


def _may_have_some(shard: StagedShard) -> bool:
    # Answers of a later attempt are joined to the rows of the first.
    if shard.attempt != FIRST_ATTEMPT or shard.stage != "collected" or shard.receipt is None:
        return False
    return not shard.receipt.statuses or RowStatus.SUCCEEDED in shard.receipt.statuses


def _answer_fields(shard: ShardFolder) -> list[pa.Field]:
    with local_copy(shard.results) as copy:
        return [field for field in pq.read_schema(copy) if field.name not in _RESULT_NAMES]


def _answered(shard: ShardFolder, plan: Plan, fields: Sequence[pa.Field]) -> Iterator[pa.Table]:
    names = list(dict.fromkeys([*plan.target_key, "model", *(field.name for field in fields)]))
    with join_shard(shard, owner=plan.owner, answer_fields=fields, in_part=True) as joined_rows:
        for table in joined_rows:
            yield table.filter(pc.equal(table["status"], RowStatus.SUCCEEDED.value)).select(names)


def _rows(rows: pa.Table, plan: Plan, columns: Sequence[str]) -> list[AnsweredRow]:
    return [
        AnsweredRow(
            key=tuple(shown_text(row[name]) for name in plan.target_key),
            model=row["model"],
            values=tuple("" if row[name] is None else shown_text(row[name]) for name in columns),
        )
        for row in rows.to_pylist()
    ]
