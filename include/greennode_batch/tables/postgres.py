"""PostgreSQL as a target: COPY into a temporary table, then one INSERT … ON CONFLICT."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import JOB_ID
from greennode_batch.source.postgres_texts import array_text, interval_text
from greennode_batch.state.column_limit import ColumnLimit
from greennode_batch.state.table_digest import NO_DIGEST, TableDigest
from greennode_batch.tables.database_errors import refusal
from greennode_batch.tables.key_values import KeyValues
from greennode_batch.tables.postgres_copy import copy_in, copy_out
from greennode_batch.tables.postgres_types import bounds_of, fit, keeps_apart, postgres_type
from greennode_batch.tables.sql_dialect import PLACE, TRIAL, Dialect, Digests, RowRule, Upserted
from greennode_batch.tables.table_columns import GENERATED, IDENTITY, WAY_OUT, Column, Fit, limit_of, quote
from greennode_batch.tables.typed_rows import DIGEST, from_texts

_MAX_NAME_BYTES = 63
# Fixed text formats, whatever the session or the database is set to.
_PLAIN_WORDS = (
    "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL extra_float_digits = 1; "
    "SET LOCAL IntervalStyle = 'postgres'"
)
# The planner knows too little about a temporary table to see that an index lookup per row is best. It would read the
# whole target each time.
_BY_INDEX = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off"

# Without statistics about a job, the planner expects few rows and would sort all of them.
_UNSORTED = "SET LOCAL enable_sort = off"


# Texts that PostgreSQL wants in another form, by the kind of their column.
_FORMS: dict[str, Callable[[str], str]] = {"array": array_text, "interval": interval_text}
_TEXTS = frozenset({"text", "varchar", "bpchar", "name", "citext"})
_PROGRAM_LIMIT = "54000"
_ROW_ON_DISK = re.compile(r"\(\d+,\d+\)")
_OTHER_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}


class PostgresDialect(Dialect):
    """PostgreSQL, by psycopg or psycopg2. A compatible database without hashtextextended makes no digests."""

    makes_digests = True
    undoes_tables = True

    def __init__(self, connection: Any, name: str, key: Sequence[str]) -> None:
        super().__init__(connection, name, key)
        self._rewritten: dict[str, Callable[[str], str]] | None = None
        if connection.autocommit:
            connection.autocommit = False  # a shard is written in one transaction

    def check_names(self, names: Sequence[str]) -> None:
        """Raise ConfigError for a name that PostgreSQL would truncate, so that the column would not be found."""
        for name in names:
            if len(name.encode()) > _MAX_NAME_BYTES:
                raise ConfigError(
                    f"table {self.name}: the name {name!r} is longer than PostgreSQL's {_MAX_NAME_BYTES} bytes; "
                    "shorten it (AS … in the query, or another name in the answer model)"
                )

    def type_of(self, field: pa.Field) -> str:
        """The type of a new column for a field."""
        return postgres_type(field)

    def fit(self, field: pa.Field, column: Column) -> Fit:
        """Whether a column accepts the texts that COPY sends for a field."""
        return fit(field, column)

    def columns(self, tx: Any) -> list[Column]:
        """The table's columns; empty if the table does not exist."""
        rows = self.run(
            tx,
            "SELECT attname, attnotnull AND NOT atthasdef AND attidentity = '', format_type(atttypid, atttypmod), "
            "CASE WHEN typtype <> 'b' THEN typtype::text WHEN typcategory = 'A' THEN 'array' ELSE typname::text END, "
            "attnotnull OR typnotnull, "
            # Before PostgreSQL 12 there is no attgenerated.
            "CASE WHEN attidentity = 'a' THEN %s WHEN to_jsonb(a) ->> 'attgenerated' <> '' THEN %s ELSE '' END, "
            # The type behind all domains.
            "format_type(base_id, modifier), base, modifier, "
            "array(SELECT enumlabel::text FROM pg_enum WHERE enumtypid IN (base_id, item_id) ORDER BY enumsortorder), "
            "(SELECT typname::text FROM pg_type WHERE oid = item_id) "
            "FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid CROSS JOIN LATERAL ("
            "WITH RECURSIVE below (id, modifier) AS (SELECT a.atttypid, a.atttypmod UNION ALL "
            "SELECT typbasetype, typtypmod FROM below JOIN pg_type ON pg_type.oid = below.id WHERE typtype = 'd') "
            "SELECT pg_type.oid AS base_id, typname::text AS base, below.modifier, "
            "CASE WHEN typcategory = 'A' AND typlen = -1 THEN typelem END AS item_id FROM below "
            "JOIN pg_type ON pg_type.oid = below.id WHERE typtype <> 'd') b "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (IDENTITY, GENERATED, self.quoted),
        )
        found = rows.fetchall()
        limits = {
            name: limit_of(self.name, name, type_, bounds_of(base, modifier, labels, item))
            for name, *_, type_, base, modifier, labels, item in found
            if base != "money" or self._has_plain_money(tx)
        }
        self._rewritten = {
            name: _FORMS[limit.kind] for name, limit in limits.items() if limit is not None and limit.kind in _FORMS
        }
        return [Column._make((*row, limits.get(row[0]))) for *row, _, _, _, _, _ in found]

    def _has_plain_money(self, tx: Any) -> bool:
        """Whether the session's locale reads 12.34 as an amount with two decimals."""
        return bool(self.run(tx, "SELECT '12.34'::text::money::numeric = 12.34").fetchone()[0])

    @property
    def user(self) -> str:
        """The role that the connection logged in with."""
        return str(self._connection.info.user)

    def check_kind(self, tx: Any) -> None:
        """Raise ConfigError for a view, a foreign table, and a table whose partitions rule out an index on the key."""
        kind = self._kind(tx)
        if kind in _OTHER_KINDS:
            behind = (
                "SELECT DISTINCT refobjid::regclass::text FROM pg_rewrite r "
                "JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid "
                "JOIN pg_class c ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid "
                "WHERE ev_class = to_regclass(%s) AND refobjid <> ev_class AND relkind IN ('r', 'p')"
            )
            tables = ", ".join(name for (name,) in self.run(tx, behind, (self.quoted,)))
            raise ConfigError(
                f"table {self.name} is {_OTHER_KINDS[kind]}, and rows are upserted only into tables that have unique "
                f"indexes. Nothing was sent. Name the table behind it{f': {tables}' if tables else ''}"
            )
        if kind == "p":
            query = (
                "SELECT attname::text FROM pg_partitioned_table JOIN pg_attribute ON attrelid = partrelid "
                "AND attnum = ANY (partattrs::int2[]) WHERE partrelid = to_regclass(%s)"
            )
            lacking = {name for (name,) in self.run(tx, query, (self.quoted,))}.difference(self.key)
            if lacking:
                columns = ", ".join(sorted(lacking))
                raise ConfigError(
                    f"table {self.name} is partitioned by {columns}, so each of its unique indexes needs {columns}, "
                    f"and the job's key has only {', '.join(self.key)}. {WAY_OUT}: add {columns} to the key of the job "
                    "and of the table's unique index"
                )

    def _kind(self, tx: Any) -> str:
        """The relkind of the table; empty if it does not exist."""
        rows = self.run(tx, "SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)", (self.quoted,))
        return str((rows.fetchone() or ("",))[0])

    def has_row_security(self, tx: Any) -> bool:
        """Whether policies decide which rows this role may see and write."""
        return bool(self.run(tx, "SELECT row_security_active(to_regclass(%s))", (self.quoted,)).fetchone()[0])

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

    def unique_indexes(self, tx: Any) -> list[tuple[str, set[str]]]:
        """Each unique index: its name, and the columns in its key, its expressions and its condition."""
        rows = self.run(
            tx,
            "SELECT relname, array(SELECT attname::text FROM pg_attribute a WHERE attrelid = i.indrelid AND "
            "(attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) OR EXISTS (SELECT FROM pg_depend d "
            "WHERE d.objid = i.indexrelid AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum)) AND attnum > 0) "
            "FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE i.indrelid = to_regclass(%s) AND (i.indisunique OR i.indisexclusion)",
            (self.quoted,),
        )
        return [(name, set(columns)) for name, columns in rows.fetchall()]

    def row_rules(self, tx: Any) -> list[RowRule]:
        """CHECK constraints, and foreign keys to other tables."""
        columns = (
            "array(SELECT attname::text FROM unnest({numbers}) WITH ORDINALITY AS part (number, place) "
            "JOIN pg_attribute ON attrelid = {table} AND attnum = number ORDER BY place)"
        )
        rows = self.run(
            tx,
            f"SELECT conname::text, {columns.format(numbers='conkey', table='conrelid')}, "  # noqa: S608 - our own words
            "pg_get_expr(conbin, conrelid), confrelid::regclass::text, "
            f"{columns.format(numbers='confkey', table='confrelid')} FROM pg_constraint c "
            "WHERE conrelid = to_regclass(%s) AND contype IN ('c', 'f') AND confrelid <> conrelid "
            # Before PostgreSQL 18 every constraint is enforced.
            "AND coalesce(to_jsonb(c) ->> 'conenforced', 'true') = 'true' ORDER BY conname",
            (self.quoted,),
        )
        rules = []
        for name, own, check, table, others in rows.fetchall():
            if check is not None:
                rules.append(RowRule(name, tuple(own), f"NOT ({check})", f"it demands {check}"))
                continue
            values = [f"{TRIAL}.{quote(column)}" for column in own]
            given = " AND ".join(f"{value} IS NOT NULL" for value in values)
            same = " AND ".join(f"other.{quote(c)} = {value}" for c, value in zip(others, values, strict=True))
            refuses = f"{given} AND NOT EXISTS (SELECT 1 FROM {table} other WHERE {same})"  # noqa: S608 - quoted
            rules.append(RowRule(name, tuple(own), refuses, f"{table} has no row with this {', '.join(others)}"))
        return rules

    def is_to_be_tried(self, column: Column) -> bool:
        """Whether a column is no text, or a domain, which may have constraints of any kind."""
        return column.kind not in _TEXTS

    def add_words(self, field: pa.Field, limit: ColumnLimit, words: Iterable[str]) -> str:
        """The statements that add labels to the column's enumeration."""
        texts = ["'" + word.replace("'", "''") + "'" for word in words]
        return "; ".join(f"ALTER TYPE {limit.type} ADD VALUE {text}" for text in texts)

    def check_at_once(self, tx: Any) -> None:
        """Check deferred constraints at each statement of the transaction."""
        self.run(tx, "SET CONSTRAINTS ALL IMMEDIATE")

    def drop_index(self, name: str) -> str:
        """The statement that drops a unique index of the table's schema, or the constraint that owns it."""
        return (
            f"ALTER TABLE {self.quoted} DROP CONSTRAINT IF EXISTS {self.quote(name)}; "
            f"DROP INDEX IF EXISTS {'.'.join(map(self.quote, (*self.parts[:-1], name)))}"
        )

    def try_rows(self, tx: Any, rows: pa.Table, *, removes: bool) -> None:
        """Try the rows in a copy of the table that has no triggers; where policies decide, in the table itself.

        The copy has the table's constraints, defaults and indexes.
        """
        if self.has_row_security(tx):
            self._try_policies(tx, rows, removes=removes)
            return
        self.run(tx, f"SAVEPOINT {TRIAL}")
        try:
            self.run(tx, f"CREATE TEMPORARY TABLE {TRIAL} (LIKE {self.quoted} INCLUDING ALL)")
        except self.error:
            # The role may read some columns only, or an extension's index is not for temporary tables.
            self.run(tx, f"ROLLBACK TO SAVEPOINT {TRIAL}")
            return
        self._copy_in(tx, TRIAL, rows)

    def _try_policies(self, tx: Any, rows: pa.Table, *, removes: bool) -> None:
        self.upsert(tx, [rows])
        keys = rows.select(list(self.key))
        with self.staged(tx, TRIAL, [keys]) as names:
            is_among = f"EXISTS (SELECT 1 FROM {TRIAL} WHERE {self.same(TRIAL, names)})"  # noqa: S608 - quoted
            uses = {"SELECT": self.run(tx, f"SELECT 1 FROM {self.quoted} WHERE {is_among}").rowcount}  # noqa: S608
            if removes:
                uses["DELETE"] = self.run(tx, f"DELETE FROM {self.quoted} WHERE {is_among}").rowcount  # noqa: S608
        for use, count in uses.items():
            if count < rows.num_rows:
                raise ConfigError(
                    f"table {self.name}: row-level security hides rows that this job writes from {use} by "
                    f"{self.user}. {WAY_OUT}: CREATE POLICY greennode_{use.lower()} ON {self.quoted} FOR {use} "
                    f"TO {quote(self.user)} USING (true)"
                )

    def keeps_apart(self, column: Column | None, values: KeyValues) -> bool:
        """Whether it is certain that a key column holds each of these values, and keeps different ones apart."""
        return keeps_apart(column, values, len(self.key))

    def collations(self, tx: Any) -> dict[str, str]:
        """The nondeterministic collations in the unique index on the key."""
        # Before PostgreSQL 12 there are none, and no such column.
        rows = self.run(
            tx,
            "SELECT attname::text, format('%%I.%%I', nspname, collname) FROM pg_index i "
            "CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indcollation::oid[]) AS part (attnum, collation_id) "
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = part.attnum "
            "JOIN pg_collation c ON c.oid = part.collation_id JOIN pg_namespace n ON n.oid = c.collnamespace "
            "WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL "
            "AND attname = ANY (%s) AND to_jsonb(c) ->> 'collisdeterministic' = 'false'",
            (self.quoted, list(self.key)),
        )
        return {name: f" COLLATE {collation}" for name, collation in rows.fetchall()}

    def partition_rule(self, tx: Any) -> str:
        """The conditions of a divided table's partitions; empty if one of them takes all other rows."""
        if self._kind(tx) != "p":
            return ""
        rows = self.run(
            tx,
            "SELECT coalesce(string_agg(pg_get_partition_constraintdef(relid), ' OR '), 'false') "
            "FROM pg_partitioned_table LEFT JOIN LATERAL pg_partition_tree(partrelid) ON isleaf AND level > 0 "
            "WHERE partrelid = to_regclass(%s) AND partdefid = 0 GROUP BY partrelid",
            (self.quoted,),
        )
        return str((rows.fetchone() or ("",))[0])

    def too_large(self, tx: Any, staged: str, terms: str) -> tuple[int, str] | None:
        """The PLACE of the first key that an index on these terms cannot hold, and PostgreSQL's reason."""
        self.run(tx, f"SAVEPOINT {staged}")
        try:
            self.run(tx, f"CREATE INDEX ON {staged} ({terms})")
        except self.error as error:
            self.run(tx, f"ROLLBACK TO SAVEPOINT {staged}")
            refused = refusal(error)
            if refused.code != _PROGRAM_LIMIT:
                raise
            # The detail names the row's place on disk.
            row = _ROW_ON_DISK.search(error.diag.message_detail or "")
            query = f"SELECT {quote(PLACE)} FROM {staged} WHERE ctid = %s"  # noqa: S608 - our own names
            found = self.run(tx, query, (row[0] if row else "(0,1)",))
            return int(found.fetchone()[0]), refused.reason
        return None

    def lock(self, tx: Any) -> None:
        """Let only one worker at a time create the table."""
        self.run(tx, "SELECT pg_advisory_xact_lock(hashtext(%s))", (f"greennode {self.quoted}",))

    def upsert(self, tx: Any, rows: Iterable[pa.Table]) -> Upserted:
        """Upsert the rows by key. A temporary table collects all of them first."""
        with self.staged(tx, "greennode_shard", rows) as names:
            columns = self.names(names)
            # All workers lock rows in the same order, so two shards never wait for each other.
            written = self.run(
                tx,
                f"INSERT INTO {self.quoted} ({columns}) SELECT {columns} FROM greennode_shard "  # noqa: S608 - quoted
                f"ORDER BY {self.names(self.key)} {self.upsert_tail(names)}",
            ).rowcount
            given = self.run(tx, "SELECT count(*) FROM greennode_shard").fetchone()[0]
            standing = self.count_standing(tx, "greennode_shard", names) if written < given else 0
            return Upserted(int(written), standing)

    def insert(self, tx: Any, staged: str, rows: pa.Table) -> None:
        """Insert rows into a temporary table by COPY. A time without a zone is UTC for a column with one."""
        self.run(tx, _PLAIN_WORDS)
        self._copy_in(tx, staged, rows)

    def _copy_in(self, tx: Any, table: str, rows: pa.Table) -> None:
        """Append rows to a table with column types of the target, in the forms that PostgreSQL reads."""
        if self._rewritten is None:
            self.columns(tx)
        for name, form in (self._rewritten or {}).items():
            if name in rows.column_names and pa.types.is_string(rows.schema.field(name).type):
                texts = [None if text is None else form(text) for text in rows[name].to_pylist()]
                index = rows.schema.get_field_index(name)
                rows = rows.set_column(index, name, pa.array(texts, pa.string()))
        copy_in(tx.cursor(), table, rows)

    def make_quick(self, tx: Any, staged: str, names: Sequence[str]) -> None:
        """Tell the planner how many rows the temporary table has."""
        self.run(tx, f"ANALYZE {staged}")

    def value(self, name: str) -> str:
        """The column cast to text, which spells out booleans and does not pad char(8); an array as JSON."""
        made = self._row_digest() if name == DIGEST else super().value(name)
        is_array = self._rewritten is not None and self._rewritten.get(name) is array_text
        return f"(to_jsonb({made}))::text" if is_array else f"({made})::text"

    def read(self, tx: Any, run_id: str, schema: pa.Schema, job_id: str | None = None) -> Iterator[pa.Table]:
        """Read the run's rows by COPY, which is several times cheaper than a cursor."""
        query = f"SELECT {', '.join(map(self.value, schema.names))} FROM {self.quoted} WHERE run_id = "  # noqa: S608
        query, parameters = query.replace("%", "%%") + "%s", [run_id]
        if job_id is not None:
            query += f" AND {self.quote(JOB_ID)} = %s"
            parameters.append(job_id)
        self.run(tx, _PLAIN_WORDS)
        for rows in copy_out(tx.cursor(), query, schema.names, parameters=tuple(parameters)):
            yield from_texts(rows, schema)

    def look_up(self, tx: Any, keys: pa.Table, schema: pa.Schema) -> pa.Table:
        """Look up the rows with these keys, through the key's index."""
        self.run(tx, _BY_INDEX)
        return super().look_up(tx, keys, schema)

    def take_over(self, tx: Any, keys: pa.Table, job_id: str) -> None:
        """Make the job the owner of rows without one, through the key's index."""
        self.run(tx, _BY_INDEX)
        super().take_over(tx, keys, job_id)

    def unowned(self, staged: str, names: Sequence[str]) -> str:
        """A query for the keys of rows without an owner. It locks rows in the same order as an upsert."""
        by_key = ", ".join(map(self.own, self.key))
        return f"{super().unowned(staged, names)} ORDER BY {by_key} FOR UPDATE OF {self.quote(self.parts[-1])}"

    def fetch(self, tx: Any, query: str, schema: pa.Schema) -> pa.Table:
        """Read the rows of a query by COPY."""
        self.run(tx, _PLAIN_WORDS)
        found = list(copy_out(tx.cursor(), query, schema.names))
        return from_texts(pa.concat_tables(found), schema) if found else schema.empty_table()

    def digests(self, tx: Any, run_id: str, job_id: str | None = None, rows: str = "1 = 1") -> Digests:
        """Compute the digests of an existing table's rows."""
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
            # Each hash seeds the next, so values cannot run into each other, and no text equals the one for NULL.
            # COLLATE "C": text in some collations cannot be hashed.
            made = f"""hashtextextended(coalesce({super().value(name)}::text, E'\\x01') COLLATE "C", {made})"""
        return made
