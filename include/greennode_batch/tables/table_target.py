"""Table target: a table of any database, made if missing, checked if not, upserted by key."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import JOB_ID, ORDER, OWNER_COLUMNS
from greennode_batch.state.plan import OrphanedRows
from greennode_batch.state.table_digest import NO_DIGEST, TableDigest
from greennode_batch.tables.key_sample import SHOWN, KeySample
from greennode_batch.tables.sql_dialect import Dialect, Digests, Upserted
from greennode_batch.tables.table_check import additions, check_table
from greennode_batch.tables.table_columns import Column
from greennode_batch.tables.typed_rows import DIGEST, OPTIONAL, found_schema

log = logging.getLogger(__name__)


class TableTarget:
    """A table. Each public call is one transaction.

    add_columns: columns that the table lacks are added to it; else they are an error that says how. target_id: what
    tells it from the job's other targets, which may be tables of this name in other databases; by default the name.
    """

    def __init__(self, dialect: Dialect, *, add_columns: bool = False, target_id: str = "") -> None:
        self.name = dialect.name
        self.target_id = target_id or dialect.name
        self.key = dialect.key
        self.dialect = dialect
        self.add_columns = add_columns
        self._has_digests = False

    def prepare(self, schema: pa.Schema, *, create: bool = True) -> list[str]:
        """Make the table if it is missing; raise ConfigError if it cannot take these columns by this key and type.

        create: False only looks. Returns the statements that would add the OWNER_COLUMNS which the table goes without.
        """
        dialect = self.dialect
        dialect.check_names([*dialect.parts, *schema.names])
        with dialect.transaction(writes=True) as tx:
            dialect.lock(tx)
            if existing := dialect.columns(tx):
                unique_keys = dialect.unique_keys(tx)
                statements = check_table(dialect, existing, unique_keys, schema, may_add=self.add_columns)
            else:
                statements = [dialect.create_statement(schema)]
            for statement in statements if create else ():
                dialect.run(tx, statement)
        return self._add_owner_columns(schema, create=create) if existing else []

    def _add_owner_columns(self, schema: pa.Schema, *, create: bool) -> list[str]:
        """Add them where that may be; the statements for those that are still missing."""
        with self.dialect.transaction() as tx:
            statements = additions(self.dialect, self.dialect.columns(tx), _owner_fields(schema))
        if not (statements and create and self.add_columns):
            return statements
        try:
            with self.dialect.transaction(writes=True) as tx:
                for statement in statements:
                    self.dialect.run(tx, statement)
        except self.dialect.driver.Error as error:
            # The table belongs to somebody else, say. It can do without.
            log.info("Table %s takes no more columns: %s", self.name, " ".join(str(error).split()))
            return statements
        return []

    def write(self, rows: Iterable[pa.Table]) -> Upserted:
        """Upsert the rows by key, some after the others, all in one transaction.

        A row of the table stays where another one may not write over it (see standing_rows.py).
        """
        given = 0

        def counted() -> Iterator[pa.Table]:
            nonlocal given
            for some in rows:
                given += some.num_rows
                yield some.drop_columns([name for name in some.column_names if name in lacking])

        with self.dialect.transaction(writes=True) as tx:
            lacking = set(OWNER_COLUMNS).difference(column.name for column in self.dialect.columns(tx))
            try:
                made = self.dialect.upsert(tx, counted())
            except (self.dialect.driver.DataError, self.dialect.driver.IntegrityError) as error:
                # SQLAlchemy's own words would show the row.
                reason = " ".join(str(getattr(error, "orig", error)).split())
                raise ConfigError(
                    f"table {self.name} does not take the answers: {reason}. Nothing of this shard was "
                    "written; its answers are safe in staging. Mend the table (or name another one) and write them "
                    "again, at no cost"
                ) from error
            if sum(made) != given:
                # An older run's row would stand in its place, and look as if a later one had written it.
                raise ConfigError(
                    f"table {self.name} took {made.written:,} of {given:,} rows: a trigger or rule keeps some out. "
                    "Nothing of this shard was written; its answers are safe in staging. Mend the table and write them "
                    "again, at no cost"
                )
            return made

    def batches(self, run_id: str, schema: pa.Schema, *, job_id: str | None = None) -> Iterator[pa.Table]:
        """All rows that a run has written, some thousand at a time; none if there is no table.

        In these columns, with these types where the values fit them, else as text. job_id: whose run it is, for other
        jobs may have runs of the same id; heeded if the table says whose its rows are.
        """
        with self.dialect.transaction() as tx:
            if columns := self.dialect.columns(tx):
                yield from self.dialect.read(tx, run_id, schema, _owner_in(job_id, columns))

    def digests(self, run_id: str, *, job_id: str | None = None) -> Digests | None:
        """Digests of all rows, and of those that are not the run's; None where this database makes none.

        A table that is not there has no rows. job_id: whose rows alone, if the table says whose they are.
        """
        if not self.dialect.makes_digests:
            return None
        made = Digests(NO_DIGEST, NO_DIGEST)
        try:
            with self.dialect.transaction() as tx:
                if columns := self.dialect.columns(tx):
                    made = self.dialect.digests(tx, run_id, _owner_in(job_id, columns))
        except (self.dialect.driver.ProgrammingError, self.dialect.driver.NotSupportedError) as error:
            log.info("Table %s makes no digest of its rows (%s)", self.name, " ".join(str(error).split()))
            return None
        self._has_digests = True
        return made

    def find(self, keys: pa.Table, *, digests: bool = False) -> pa.Table:
        """The rows that have these keys, whatever run wrote them; their columns are those of `found_schema`.

        The database compares, and takes each key as it would to write it: what it pads or rounds is found all the same.
        digests: with a column DIGEST, of a database that makes them.
        """
        schema = found_schema(keys.schema)
        if digests:
            schema = schema.append(pa.field(DIGEST, pa.int64()))
        return self._look_up(keys, schema)

    def stored(self, keys: pa.Table, fields: Iterable[pa.Field]) -> pa.Table:
        """What the rows that have these keys hold in these columns, beside `index`: of which key a row is.

        With these types where the values fit them, else as text. Raises the driver's error for a column that is not
        there, unless it is one of the OWNER_COLUMNS.
        """
        schema = pa.schema([pa.field("index", pa.int64()), *fields])
        return self._look_up(keys, schema)

    def _look_up(self, keys: pa.Table, schema: pa.Schema) -> pa.Table:
        with self.dialect.transaction() as tx:
            names = {column.name for column in self.dialect.columns(tx)}
            if not names:
                return schema.empty_table()
            there = [field for field in schema if field.name in names or field.name not in OPTIONAL]
            found = self.dialect.look_up(tx, keys, pa.schema(there))
        for index, field in enumerate(schema):
            if field not in there:
                found = found.add_column(index, field, pa.nulls(found.num_rows, field.type))
        return found

    def take_over(self, keys: pa.Table, *, job_id: str) -> None:
        """Make rows that have these keys the job's, if they are nobody's yet. Only of a table that has JOB_ID."""
        with self.dialect.transaction(writes=True) as tx:
            self.dialect.take_over(tx, keys, job_id)

    def is_there(self, names: Iterable[str]) -> bool:
        """Whether there is a table that has these columns, and rows by this key."""
        with self.dialect.transaction() as tx:
            has_columns = {column.name for column in self.dialect.columns(tx)}.issuperset(names)
            return has_columns and set(self.key) in self.dialect.unique_keys(tx)

    def leave_only(
        self,
        keys: Iterable[pa.Table],
        *,
        requested: pa.Table | None = None,
        job_id: str | None = None,
        order: str | None = None,
        remove: bool,
    ) -> tuple[OrphanedRows, TableDigest]:
        """The rows whose keys are not among these; they are removed if that is wanted. Holds none of the keys.

        requested: values of other columns; rows that have none of them are counted alone. job_id: whose rows alone, if
        the table says whose they are: another job's and nobody's are neither counted nor removed. order: the run's;
        what a later one wrote is neither, if the table says when it was. Beside them a digest of what was removed, if
        `digests` gave any before.
        """
        dialect = self.dialect
        with ExitStack() as stack:
            tx = stack.enter_context(dialect.transaction(writes=True))

            def is_among(staged: str, some: Iterable[pa.Table]) -> str:
                names = stack.enter_context(dialect.staged(tx, staged, some))
                dialect.make_quick(tx, staged, names)
                return f"EXISTS (SELECT 1 FROM {staged} WHERE {dialect.same(staged, names)})"  # noqa: S608 - quoted

            def count_of(rows: str) -> int:
                return int(dialect.run(tx, f"SELECT count(*) FROM {dialect.quoted} WHERE {rows}").fetchone()[0])  # noqa: S608

            others = f"NOT {is_among('greennode_source_keys', keys)}"
            is_own = "1 = 1"
            columns = dialect.columns(tx)
            if (owner := _owner_in(job_id, columns)) is not None:
                is_own = is_among("greennode_owner", [pa.table({JOB_ID: [owner]})])
                others += f" AND {is_own}"
            if order is not None and any(column.name == ORDER for column in columns):
                names = stack.enter_context(dialect.staged(tx, "greennode_order", [pa.table({ORDER: [order]})]))
                is_later = f"{dialect.own(ORDER)} > greennode_order.{dialect.names(names)}"
                others += f" AND NOT EXISTS (SELECT 1 FROM greennode_order WHERE {is_later})"  # noqa: S608 - quoted
            not_requested = 0
            if requested is not None:
                is_requested = is_among("greennode_asked", [requested])
                not_requested = count_of(f"{is_own} AND NOT {is_requested}")
                others += f" AND {is_requested}"
            count = count_of(others)
            query = f"SELECT {dialect.names(self.key)} FROM {dialect.quoted} WHERE {others} LIMIT {SHOWN}"  # noqa: S608
            named = KeySample(map(KeySample.text, dialect.run(tx, query).fetchall()))
            named.count = count
            removed = NO_DIGEST
            if remove and count:
                if self._has_digests:
                    removed = dialect.digests(tx, "", rows=others).all_rows
                dialect.run(tx, f"DELETE FROM {dialect.quoted} WHERE {others}")  # noqa: S608 - quoted
            return OrphanedRows(count, str(named), removed=remove and count > 0, not_requested=not_requested), removed


def _owner_in(job_id: str | None, columns: Iterable[Column]) -> str | None:
    """The job's id where the table says whose its rows are."""
    return job_id if any(column.name == JOB_ID for column in columns) else None


def _owner_fields(schema: pa.Schema) -> list[pa.Field]:
    return [field for field in schema if field.name in OWNER_COLUMNS]
