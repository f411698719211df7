"""Write a shard's joined rows into each target: a table in one transaction, a dataset file by file."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from greennode_batch.job.columns import JOB_ID, ORDER
from greennode_batch.plan.source_rows import OWN_COLUMNS
from greennode_batch.spans import WRITE
from greennode_batch.staging.folders import RunFolder, ShardFolder, local_copy
from greennode_batch.staging.parquet import read_pieces
from greennode_batch.state.column_limit import ColumnLimit
from greennode_batch.state.joined_shard import JoinedShard, read_joined
from greennode_batch.state.plan import Plan, note_limits, read_plan
from greennode_batch.state.row_status import RowStatus
from greennode_batch.tables.key_values import KeyValues
from greennode_batch.tables.table_target import RefusedValuesError, TableTarget
from greennode_batch.wording import counted
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.join import JoinedRows, joined_schema
from greennode_batch.write.joined_rows import CountedRows, note_joined
from greennode_batch.write.partitions import check_count

log = logging.getLogger(__name__)

_TRIED_ROWS = 20

OpenTarget = TableTarget | Dataset


def prepare_targets(
    targets: Sequence[OpenTarget],
    run: RunFolder,
    plan: Plan,
    *,
    answer_fields: Sequence[pa.Field],
    create: bool = True,
    removes: bool = False,
) -> Plan:
    """Raise ConfigError if a target cannot hold what the run will write, before anything is paid.

    create: if False, only check; create no table. removes: whether the job removes orphaned rows. Returns the plan, in
    staging too, with what existing tables hold where answers may be more.
    """
    if not plan.shards:
        return plan
    limits: list[ColumnLimit] = []
    rows, given = _first_rows(run, plan, answer_fields)
    for target in targets:
        if isinstance(target, Dataset):
            target.prepare(rows.schema, create=create)
            _check_partitions(target, run, plan)
            continue
        statements = target.prepare(rows.schema, create=create)
        limits += target.prove(rows, given=given, removes=removes)
        if target.has_unchecked_keys:
            _check_keys(target, run, plan)
        target.check_carried(lambda names: _source_rows(run, plan, names), [*given, "custom_id"])
        if statements:
            log.info(
                "Table %s has no columns for the job and the order of its rows. Only run_id distinguishes them, and an "
                "older run may overwrite rows of a later one. To add the columns: %s",
                target.name,
                "; ".join(statements),
            )
    return note_limits(run, plan, limits)


def _first_rows(run: RunFolder, plan: Plan, answer_fields: Sequence[pa.Field]) -> tuple[pa.Table, list[str]]:
    """A few rows as the run writes them if it gets no answer, and the names of the columns that the source decides."""
    with local_copy(run.shard(plan.shards[0].shard_id).source) as path, pq.ParquetFile(path) as file:
        schema = joined_schema(file.schema_arrow, answer_fields)
        source = next(read_pieces(file, file.schema_arrow.names)).slice(0, _TRIED_ROWS)
    owner = zip(("run_id", JOB_ID, ORDER), plan.owner, strict=True)
    known = {**{name: source[name] for name in source.column_names}, **dict(owner), "status": RowStatus.FAILED.value}
    columns = []
    for field in schema:
        value = known.get(field.name)
        is_one = isinstance(value, str | None)
        columns.append(pa.repeat(pa.scalar(value, field.type), len(source)) if is_one else value)
    return pa.table(columns, schema=schema), [name for name in source.column_names if name not in OWN_COLUMNS]


def _check_keys(target: TableTarget, run: RunFolder, plan: Plan) -> None:
    """Raise ConfigError if a table that was just made takes two keys for one, or cannot hold one."""
    values = {name: KeyValues() for name in target.key}
    for rows in _source_rows(run, plan, target.key):
        for name, one in values.items():
            one.add(rows[name].to_pylist())
    target.check_keys(lambda: _source_rows(run, plan, target.key), values)


def _source_rows(run: RunFolder, plan: Plan, names: Sequence[str]) -> Iterator[pa.Table]:
    """These columns of all rows that the run writes, a few thousand at a time."""
    for planned in plan.shards:
        with local_copy(run.shard(planned.shard_id).source) as path, pq.ParquetFile(path) as file:
            yield from read_pieces(file, list(names))


def target_schema(run: RunFolder, plan: Plan, answer_fields: Sequence[pa.Field]) -> pa.Schema:
    """The columns that a run will write. The run must have at least one shard."""
    with local_copy(run.shard(plan.shards[0].shard_id).source) as path:
        return joined_schema(pq.read_schema(path), answer_fields)


def _check_partitions(dataset: Dataset, run: RunFolder, plan: Plan) -> None:
    """Raise ConfigError if the source's columns alone give a shard too many partitions."""
    for planned in plan.shards:
        with local_copy(run.shard(planned.shard_id).source) as path:
            names = [name for name in dataset.partition_by if name in pq.read_schema(path).names]
            if not names:
                return
            with pq.ParquetFile(path) as file:
                found = file.schema_arrow.empty_table().select(names)
                for rows in read_pieces(file, names):
                    found = pa.concat_tables([found, rows]).group_by(names).aggregate([])
                    check_count(found.num_rows, names)


@WRITE.around(
    lambda shard, *_, **_options: {"shard_id": shard.shard_id, "attempt": shard.attempt},
    lambda note: {"rows": note.rows, "statuses": note.statuses},
)
def write_shard(
    shard: ShardFolder, joined: JoinedRows, targets: Sequence[OpenTarget], *, key: Sequence[str]
) -> JoinedShard:
    """Write a shard's rows into each of its targets, then joined.json. A second call writes the same rows.

    An answer that a table refuses becomes an invalid one in all targets.
    """
    rows = CountedRows(joined, key)
    plan = read_plan(shard.run)
    given = [one for one in targets if plan is None or plan.writes(shard.shard_id, one.target_id)]
    if not given:  # the job no longer has the target since the build; count the rows nevertheless
        for _ in rows:
            pass
    before = read_joined(shard)
    joined.refuse({})  # a table may have been changed since
    refused: dict[str, str] = {}
    while True:
        files: dict[str, tuple[str, ...]] = {}
        for target in given:
            if isinstance(target, Dataset):
                replaced = before.files.get(target.name, ()) if before else ()
                files[target.name] = target.write(rows, shard.shard_id, replaces=replaced)
            elif found := _write(target, rows, joined):
                refused |= found
                joined.refuse(refused)
                break
        else:
            return note_joined(shard, rows, files=files)


def _write(table: TableTarget, rows: CountedRows, joined: JoinedRows) -> dict[str, str]:
    """Write the rows into a table. Returns the answers that it refuses, and why; then none of the rows is written."""
    table.prepare(joined.schema)
    try:
        table.write(rows)
    except RefusedValuesError as error:
        refused = table.refused_answers(joined, joined.answer)
        if not refused:
            raise
        log.warning(
            "Table %s refuses the answers to %s (%s). They become invalid_output, with the reason in the column error; "
            "the other rows are written. To keep these answers, change the table, and clear join_results: it writes "
            "them again, at no cost",
            table.name,
            counted(len(refused), "request"),
            error.reason,
        )
        return refused
    return {}
