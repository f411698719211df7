"""PostgreSQL as a target: COPY into a temporary table, then one INSERT … ON CONFLICT."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.state.fingerprint import NO_ROWS, Fingerprint
from greennode_batch.tables.columns import Column, Fit, quote
from greennode_batch.tables.postgres_copy import copy_in, copy_out
from greennode_batch.tables.postgres_types import fit, postgres_type
from greennode_batch.tables.sql_table import DIGEST, Digests, SqlTable
from greennode_batch.tables.typed_rows import from_texts

log = logging.getLogger(__name__)

_MAX_NAME_BYTES = 63
_PLACE = "greennode place"
# One way to write a moment, whatever the session's or the database's own.
_PLAIN_WORDS = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL extra_float_digits = 1"
# Of a temporary table the planner knows too little to see that a look into the key's index for each row is best, and
# would read the whole target each time.
_BY_INDEX = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off"


class PostgresTable(SqlTable):
    """A table of PostgreSQL, by psycopg or psycopg2."""

    def __init__(self, connection: Any, table: str, key: Sequence[str], *, add_columns: bool = False) -> None:
        super().__init__(connection, table, key, add_columns=add_columns)
        if connection.autocommit:
            connection.autocommit = False  # a shard is written in one transaction
        self._makes_digests = False

    def check_names(self, names: Sequence[str]) -> None:
        """PostgreSQL cuts longer names off, and then there is no such column."""
        for name in names:
            if len(name.encode()) > _MAX_NAME_BYTES:
                raise ConfigError(
                    f"table {self.name}: the name {name!r} is longer than PostgreSQL's {_MAX_NAME_BYTES} bytes; "
                    "shorten it (AS … in the query, or in the answer model)"
                )

    def upsert(self, cursor: Any, rows: Iterable[pa.Table]) -> int:
        """Upsert the rows by key; how many were written. They wait in a temporary table until all are there."""
        names = self._put_aside(cursor, "greennode_shard", rows)
        columns = ", ".join(map(quote, names))
        # One order of locks for all workers: two shards can never wait for each other.
        cursor.execute(
            f"INSERT INTO {self.quoted} ({columns}) SELECT {columns} FROM greennode_shard "  # noqa: S608 - quoted
            f"ORDER BY {self.quoted_key} {self.upsert_tail(names)}"
        )
        return int(cursor.rowcount)

    def read(self, cursor: Any, run_id: str, schema: pa.Schema) -> Iterator[pa.Table]:
        """The run's rows by COPY, which is some times cheaper than a cursor."""
        query = f"SELECT {_as_text(schema.names)} FROM {self.quoted} WHERE run_id = ".replace("%", "%%") + "%s"  # noqa: S608
        cursor.execute(_PLAIN_WORDS)
        for rows in copy_out(cursor, query, schema.names, parameters=(run_id,)):
            yield from_texts(rows, schema)

    def digests(self, run_id: str) -> Digests | None:
        """Digests by hashtextextended, of PostgreSQL 11 and later; what only speaks like it may make none."""
        made = Digests(NO_ROWS, NO_ROWS)
        try:
            with self._transaction() as cursor:
                if self.columns(cursor):
                    made = self._digests(cursor, run_id)
        except (self._driver.ProgrammingError, self._driver.NotSupportedError) as error:
            log.info("Table %s makes no digest of its rows (%s)", self.name, " ".join(str(error).split()))
            return None
        self._makes_digests = True
        return made

    def digest_of(self, cursor: Any, rows: str) -> Fingerprint:
        """The digest of the rows t that `FROM … AS t …` gives."""
        if not self._makes_digests:
            return NO_ROWS
        cursor.execute(_PLAIN_WORDS)
        cursor.execute(f"SELECT count(*), sum({self._row_digest()}) {rows}")
        return _digest(*cursor.fetchone())

    def _digests(self, cursor: Any, run_id: str) -> Digests:
        query = (
            "SELECT count(*), sum(digest), count(*) FILTER (WHERE is_own), sum(digest) FILTER (WHERE is_own) FROM "  # noqa: S608
            f"(SELECT {self._row_digest()} AS digest, t.run_id = own AS is_own FROM {self.quoted} AS t, "
        )
        cursor.execute(_PLAIN_WORDS)
        cursor.execute(query.replace("%", "%%") + "(SELECT %s::text AS own) AS run) AS d", (run_id,))
        rows, total, own_rows, own_total = cursor.fetchone()
        own = _digest(own_rows, own_total)
        return Digests(own, _digest(rows, total).without(own))

    def _row_digest(self) -> str:
        made = "0"
        for name in ("status", "custom_id", *self.key):
            # Each is the seed of the next, so no value runs into another; no text is that of NULL. Not every collation
            # lets a text be hashed.
            made = f"""hashtextextended(coalesce(t.{quote(name)}::text, E'\\x01') COLLATE "C", {made})"""
        return made

    def look_up(self, cursor: Any, keys: pa.Table, schema: pa.Schema) -> pa.Table:
        """The rows that have these keys, by way of a temporary table that has the target's own types."""
        names = list(map(quote, keys.column_names))
        place = quote(_PLACE)
        cursor.execute(
            f"CREATE TEMPORARY TABLE greennode_keys ON COMMIT DROP AS SELECT {', '.join(names)}, 0::bigint AS {place} "  # noqa: S608
            f"FROM {self.quoted} LIMIT 0"
        )
        copy_in(cursor, "greennode_keys", keys.append_column(_PLACE, pa.array(range(keys.num_rows), pa.int64())))
        query = (
            f"SELECT k.{place}, {self._looked_up(schema.names[1:])} "  # noqa: S608 - quoted
            f"FROM greennode_keys k JOIN {self.quoted} t ON {' AND '.join(f't.{name} = k.{name}' for name in names)}"
        )
        cursor.execute(_BY_INDEX)
        cursor.execute(_PLAIN_WORDS)
        found = list(copy_out(cursor, query, schema.names))
        return from_texts(pa.concat_tables(found), schema) if found else schema.empty_table()

    def _looked_up(self, names: Sequence[str]) -> str:
        digest = f"({self._row_digest()})::text"
        return ", ".join(digest if name == DIGEST else _as_text([name], "t.") for name in names)

    def gather(self, cursor: Any, name: str, keys: Iterable[pa.Table]) -> list[str]:
        """Put keys into a temporary table that has the target's own types; the names of their columns."""
        names = self._put_aside(cursor, name, keys)
        cursor.execute(f"ANALYZE {name}")
        return names

    def _put_aside(self, cursor: Any, name: str, tables: Iterable[pa.Table]) -> list[str]:
        names: list[str] = []
        for some in tables:
            if not names:
                names = some.column_names
                cursor.execute(
                    f"CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS SELECT {', '.join(map(quote, names))} "  # noqa: S608
                    f"FROM {self.quoted} LIMIT 0"
                )
            copy_in(cursor, name, some)
        return names

    def type_of(self, field: pa.Field) -> str:
        """The column type for a field."""
        return postgres_type(field)

    def fit(self, field: pa.Field, column: Column) -> Fit:
        """Whether a column takes the texts that COPY sends for a field."""
        return fit(field, column)

    def columns(self, cursor: Any) -> list[Column]:
        """The table's columns, none if there is no such table."""
        cursor.execute(
            "SELECT attname, attnotnull AND NOT atthasdef AND attidentity = '', format_type(atttypid, atttypmod), "
            "CASE WHEN typtype <> 'b' THEN typtype::text WHEN typcategory = 'A' THEN 'array' ELSE typname::text END "
            "FROM pg_attribute JOIN pg_type t ON t.oid = atttypid "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (self.quoted,),
        )
        return [Column(*row) for row in cursor.fetchall()]

    def unique_keys(self, cursor: Any) -> list[set[str]]:
        """The columns of each unique index that ON CONFLICT can infer: whole, valid and not deferred."""
        cursor.execute(
            "SELECT array(SELECT attname::text FROM pg_attribute WHERE attrelid = i.indrelid "
            "AND attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) FROM pg_index i "
            "WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indisvalid AND i.indimmediate "
            "AND i.indpred IS NULL AND i.indexprs IS NULL",
            (self.quoted,),
        )
        return [set(columns) for (columns,) in cursor.fetchall()]

    def lock(self, cursor: Any) -> None:
        """Let only one worker make the table."""
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"greennode {self.quoted}",))


def _as_text(names: Sequence[str], table: str = "") -> str:
    # By a cast, which writes a boolean out and pads no char(8).
    return ", ".join(f"{table}{quote(name)}::text" for name in names)


def _digest(rows: int, total: Any) -> Fingerprint:
    """Of a count and a sum, which is NULL where there are no rows."""
    return NO_ROWS.joined_with(Fingerprint(int(rows), int(total or 0)))
