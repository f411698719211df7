"""PostgreSQL as a target: COPY into a temporary table, then one INSERT … ON CONFLICT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import JOB_ID
from greennode_batch.state.table_digest import NO_DIGEST, TableDigest
from greennode_batch.tables.postgres_copy import copy_in, copy_out
from greennode_batch.tables.postgres_types import fit, postgres_type
from greennode_batch.tables.sql_dialect import Dialect, Digests, Upserted
from greennode_batch.tables.table_columns import Column, Fit
from greennode_batch.tables.typed_rows import DIGEST, from_texts

_MAX_NAME_BYTES = 63
# One way to write a moment, whatever the session's or the database's own.
_PLAIN_WORDS = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL extra_float_digits = 1"
# Of a temporary table the planner knows too little to see that a look into the key's index for each row is best, and
# would read the whole target each time.
_BY_INDEX = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off"

# Of a job that the planner knows nothing of it expects few rows, and would sort all of them.
_UNSORTED = "SET LOCAL enable_sort = off"


class PostgresDialect(Dialect):
    """PostgreSQL, by psycopg or psycopg2. What only speaks like it may lack hashtextextended, and makes no digests."""

    makes_digests = True

    def __init__(self, connection: Any, name: str, key: Sequence[str]) -> None:
        super().__init__(connection, name, key)
        if connection.autocommit:
            connection.autocommit = False  # a shard is written in one transaction

    def check_names(self, names: Sequence[str]) -> None:
        """PostgreSQL cuts longer names off, and then there is no such column."""
        for name in names:
            if len(name.encode()) > _MAX_NAME_BYTES:
                raise ConfigError(
                    f"table {self.name}: the name {name!r} is longer than PostgreSQL's {_MAX_NAME_BYTES} bytes; "
                    "shorten it (AS … in the query, or another name in the answer model)"
                )

    def type_of(self, field: pa.Field) -> str:
        """The type of a column that is made for a field."""
        return postgres_type(field)

    def fit(self, field: pa.Field, column: Column) -> Fit:
        """Whether a column takes the texts that COPY sends for a field."""
        return fit(field, column)

    def columns(self, tx: Any) -> list[Column]:
        """The table's columns, none if there is no such table."""
        rows = self.run(
            tx,
            "SELECT attname, attnotnull AND NOT atthasdef AND attidentity = '', format_type(atttypid, atttypmod), "
            "CASE WHEN typtype <> 'b' THEN typtype::text WHEN typcategory = 'A' THEN 'array' ELSE typname::text END "
            "FROM pg_attribute JOIN pg_type t ON t.oid = atttypid "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (self.quoted,),
        )
        return [Column(*row) for row in rows.fetchall()]

    def unique_keys(self, tx: Any) -> list[set[str]]:
        """The columns of each unique index that ON CONFLICT can infer: whole, valid and not deferred."""
        rows = self.run(
            tx,
            "SELECT array(SELECT attname::text FROM pg_attribute WHERE attrelid = i.indrelid "
            "AND attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) FROM pg_index i "
            "WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indisvalid AND i.indimmediate "
            "AND i.indpred IS NULL AND i.indexprs IS NULL",
            (self.quoted,),
        )
        return [set(columns) for (columns,) in rows.fetchall()]

    def lock(self, tx: Any) -> None:
        """Let only one worker make the table."""
        self.run(tx, "SELECT pg_advisory_xact_lock(hashtext(%s))", (f"greennode {self.quoted}",))

    def upsert(self, tx: Any, rows: Iterable[pa.Table]) -> Upserted:
        """Upsert the rows by key. They wait in a temporary table until all are there."""
        with self.staged(tx, "greennode_shard", rows) as names:
            columns = self.names(names)
            # One order of locks for all workers: two shards can never wait for each other.
            written = self.run(
                tx,
                f"INSERT INTO {self.quoted} ({columns}) SELECT {columns} FROM greennode_shard "  # noqa: S608 - quoted
                f"ORDER BY {self.names(self.key)} {self.upsert_tail(names)}",
            ).rowcount
            given = self.run(tx, "SELECT count(*) FROM greennode_shard").fetchone()[0]
            standing = self.count_standing(tx, "greennode_shard", names) if written < given else 0
            return Upserted(int(written), standing)

    def insert(self, tx: Any, staged: str, rows: pa.Table) -> None:
        """By COPY."""
        copy_in(tx.cursor(), staged, rows)

    def make_quick(self, tx: Any, staged: str, names: Sequence[str]) -> None:
        """Let the planner know how many rows there are."""
        self.run(tx, f"ANALYZE {staged}")

    def value(self, name: str) -> str:
        """By a cast, which writes a boolean out and pads no char(8)."""
        return f"({self._row_digest() if name == DIGEST else super().value(name)})::text"

    def read(self, tx: Any, run_id: str, schema: pa.Schema, job_id: str | None = None) -> Iterator[pa.Table]:
        """The run's rows by COPY, which is some times cheaper than a cursor."""
        query = f"SELECT {', '.join(map(self.value, schema.names))} FROM {self.quoted} WHERE run_id = "  # noqa: S608
        query, parameters = query.replace("%", "%%") + "%s", [run_id]
        if job_id is not None:
            query += f" AND {self.quote(JOB_ID)} = %s"
            parameters.append(job_id)
        self.run(tx, _PLAIN_WORDS)
        for rows in copy_out(tx.cursor(), query, schema.names, parameters=tuple(parameters)):
            yield from_texts(rows, schema)

    def look_up(self, tx: Any, keys: pa.Table, schema: pa.Schema) -> pa.Table:
        """The rows that have these keys, by the key's index."""
        self.run(tx, _BY_INDEX)
        return super().look_up(tx, keys, schema)

    def take_over(self, tx: Any, keys: pa.Table, job_id: str) -> None:
        """Make rows the job's, by the key's index."""
        self.run(tx, _BY_INDEX)
        super().take_over(tx, keys, job_id)

    def unowned(self, staged: str, names: Sequence[str]) -> str:
        """Keys of rows that are nobody's yet, locked in the order in which an upsert locks rows."""
        by_key = ", ".join(map(self.own, self.key))
        return f"{super().unowned(staged, names)} ORDER BY {by_key} FOR UPDATE OF {self.quote(self.parts[-1])}"

    def fetch(self, tx: Any, query: str, schema: pa.Schema) -> pa.Table:
        """What a query gives, by COPY."""
        self.run(tx, _PLAIN_WORDS)
        found = list(copy_out(tx.cursor(), query, schema.names))
        return from_texts(pa.concat_tables(found), schema) if found else schema.empty_table()

    def digests(self, tx: Any, run_id: str, job_id: str | None = None, rows: str = "1 = 1") -> Digests:
        """Digests of the rows of a table that is there."""
        made = dict.fromkeys((True, False), NO_DIGEST)
        query = f"count(*), sum({self._row_digest()}) FROM {self.quoted} WHERE {rows}".replace("%", "%%")
        parameters = [run_id]
        if job_id is not None:
            query += f" AND {self.quote(JOB_ID)} = %s"
            parameters.append(job_id)
        self.run(tx, f"{_PLAIN_WORDS}; {_UNSORTED}")
        for is_own, count, total in self.run(tx, f"SELECT run_id = %s, {query} GROUP BY 1", parameters):
            made[bool(is_own)] = made[bool(is_own)].joined_with(TableDigest(count, int(total)))
        return Digests(made[True].joined_with(made[False]), made[False])

    def _row_digest(self) -> str:
        made = "0"
        for name in ("status", "custom_id", *self.key):
            # Each is the seed of the next, so no value runs into another; no text is that of NULL. Not every collation
            # lets a text be hashed.
            made = f"""hashtextextended(coalesce({super().value(name)}::text, E'\\x01') COLLATE "C", {made})"""
        return made
