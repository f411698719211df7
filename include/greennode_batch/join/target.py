"""Targets: one shard's joined rows, written into each of them; a table in one transaction, a dataset file by file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from greennode_batch.build.plan import Plan
from greennode_batch.errors import ConfigError
from greennode_batch.join.dataset import Dataset
from greennode_batch.join.generic_table import GenericTable
from greennode_batch.join.join import JoinedRows, joined_schema
from greennode_batch.join.joined_shard import CountedRows, JoinedShard, note_joined, read_joined
from greennode_batch.join.partitions import check_count
from greennode_batch.join.postgres_table import PostgresTable
from greennode_batch.join.sql_table import SqlTable
from greennode_batch.join.sqlite_table import SqliteTable
from greennode_batch.staging import RunFolder, ShardFolder, local_copy

OpenTarget = SqlTable | Dataset

OWN_DRIVERS: dict[str, type[PostgresTable | SqliteTable]] = {
    "psycopg": PostgresTable,
    "psycopg2": PostgresTable,
    "sqlite3": SqliteTable,
}
"""DB-API drivers with a fast way of their own; all others go by way of SQLAlchemy."""


def sql_table(connection: Any, table: str, key: Sequence[str], *, add_columns: bool = False) -> SqlTable:
    """The table on a DB-API connection of psycopg, psycopg2 or sqlite3, or else on an engine of SQLAlchemy."""
    if isinstance(connection, sa.Engine):
        return GenericTable(connection, table, key, add_columns=add_columns)
    driver = type(connection).__module__.partition(".")[0]
    if driver in OWN_DRIVERS:
        return OWN_DRIVERS[driver](connection, table, key, add_columns=add_columns)
    raise ConfigError(f"table {table}: a target on {driver} needs an engine of SQLAlchemy")


def prepare_targets(
    targets: Sequence[OpenTarget], run: RunFolder, plan: Plan, *, answer_fields: Sequence[pa.Field], create: bool = True
) -> None:
    """Raise ConfigError if a target cannot take what the run will write, before anything is paid.

    create: False only looks, and makes no table.
    """
    if not plan.shards:
        return
    with local_copy(run.shard(plan.shards[0].shard_id).source) as path:
        schema = joined_schema(pq.read_schema(path), answer_fields)
    for target in targets:
        target.prepare(schema, create=create)
        if isinstance(target, Dataset):
            _check_partitions(target, run, plan)


def _check_partitions(dataset: Dataset, run: RunFolder, plan: Plan) -> None:
    """How many partitions a shard will have at least, as far as the source tells."""
    for planned in plan.shards:
        with local_copy(run.shard(planned.shard_id).source) as path:
            names = [name for name in dataset.partition_by if name in pq.read_schema(path).names]
            if not names:
                return
            with pq.ParquetFile(path) as file:
                found = file.schema_arrow.empty_table().select(names)
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group, columns=names, use_threads=False)
                    found = pa.concat_tables([found, rows]).group_by(names).aggregate([])
                    check_count(found.num_rows, names)


def write_shard(
    shard: ShardFolder, joined: JoinedRows, targets: Sequence[OpenTarget], *, key: Sequence[str]
) -> JoinedShard:
    """Write a shard's rows into each target, and joined.json when all have them. Again, it writes the same rows."""
    before = read_joined(shard)
    rows = CountedRows(joined, key)
    files: dict[str, tuple[str, ...]] = {}
    for target in targets:
        if isinstance(target, Dataset):
            replaced = before.files.get(target.name, ()) if before else ()
            files[target.name] = target.write(rows, shard.shard_id, replaces=replaced)
        else:
            target.prepare(joined.schema)
            target.write(rows)
    return note_joined(shard, rows, files=files)
