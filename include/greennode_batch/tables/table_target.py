"""Table target: a table of any database, made if missing, checked if not, upserted by key."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.state.plan import LeftRows
from greennode_batch.state.table_digest import NO_DIGEST, TableDigest
from greennode_batch.tables.dialect import Dialect, Digests
from greennode_batch.tables.shown_keys import SHOWN, Named
from greennode_batch.tables.table_check import check_table
from greennode_batch.tables.typed_rows import DIGEST, found_schema

log = logging.getLogger(__name__)


class TableTarget:
    """A table. Each public call is one transaction.

    add_columns: columns that the table lacks are added to it; else they are an error that says how.
    """

    def __init__(self, dialect: Dialect, *, add_columns: bool = False) -> None:
        self.name = dialect.name
        self.key = dialect.key
        self.dialect = dialect
        self.add_columns = add_columns
        self._has_digests = False

    def prepare(self, schema: pa.Schema, *, create: bool = True) -> None:
        """Make the table if it is missing; raise ConfigError if it cannot take these columns by this key and type.

        create: False only looks.
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

    def write(self, rows: Iterable[pa.Table]) -> int:
        """Upsert the rows by key, some after the others, all in one transaction; how many were written."""
        given = 0

        def counted() -> Iterator[pa.Table]:
            nonlocal given
            for some in rows:
                given += some.num_rows
                yield some

        with self.dialect.transaction(writes=True) as tx:
            try:
                written = self.dialect.upsert(tx, counted())
            except (self.dialect.driver.DataError, self.dialect.driver.IntegrityError) as error:
                # SQLAlchemy's own words would show the row.
                reason = " ".join(str(getattr(error, "orig", error)).split())
                raise ConfigError(
                    f"table {self.name} does not take the answers: {reason}. Nothing of this shard was "
                    "written; its answers are safe in staging. Mend the table (or name another one) and write them "
                    "again, at no cost"
                ) from error
            if written != given:
                # An older run's row would stand in its place, and look as if a later one had written it.
                raise ConfigError(
                    f"table {self.name} took {written:,} of {given:,} rows: a trigger or rule keeps some out. "
                    "Nothing of this shard was written; its answers are safe in staging. Mend the table and write them "
                    "again, at no cost"
                )
            return written

    def batches(self, run_id: str, schema: pa.Schema) -> Iterator[pa.Table]:
        """All rows that a run has written, some thousand at a time; none if there is no table.

        In these columns, with these types where the values fit them, else as text.
        """
        with self.dialect.transaction() as tx:
            if self.dialect.columns(tx):
                yield from self.dialect.read(tx, run_id, schema)

    def digests(self, run_id: str) -> Digests | None:
        """Digests of all rows, and of those that are not the run's; None where this database makes none.

        A table that is not there has no rows.
        """
        if not self.dialect.makes_digests:
            return None
        made = Digests(NO_DIGEST, NO_DIGEST)
        try:
            with self.dialect.transaction() as tx:
                if self.dialect.columns(tx):
                    made = self.dialect.digests(tx, run_id)
        except (self.dialect.driver.ProgrammingError, self.dialect.driver.NotSupportedError) as error:
            log.info("Table %s makes no digest of its rows (%s)", self.name, " ".join(str(error).split()))
            return None
        self._has_digests = True
        return made

    def find(self, keys: pa.Table, *, digests: bool = False) -> pa.Table:
        """The rows that have these keys, whatever run wrote them: place among the keys, key, custom_id, status, run_id.

        The database compares, and takes each key as it would to write it: what it pads or rounds is found all the same.
        digests: with a column DIGEST, of a database that makes them.
        """
        schema = found_schema(keys.schema)
        if digests:
            schema = schema.append(pa.field(DIGEST, pa.int64()))
        with self.dialect.transaction() as tx:
            return self.dialect.look_up(tx, keys, schema) if self.dialect.columns(tx) else schema.empty_table()

    def is_there(self, names: Iterable[str]) -> bool:
        """Whether there is a table that has these columns, and rows by this key."""
        with self.dialect.transaction() as tx:
            has_columns = {column.name for column in self.dialect.columns(tx)}.issuperset(names)
            return has_columns and set(self.key) in self.dialect.unique_keys(tx)

    def leave_only(
        self, keys: Iterable[pa.Table], *, asked: pa.Table | None = None, remove: bool
    ) -> tuple[LeftRows, TableDigest]:
        """The rows whose keys are not among these; they are removed if that is wanted. Holds none of the keys.

        asked: values of other columns; rows that have none of them are counted alone. Beside them a digest of what was
        removed, if `digests` gave any before.
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
            not_asked = 0
            if asked is not None:
                is_asked = is_among("greennode_asked", [asked])
                not_asked = count_of(f"NOT {is_asked}")
                others += f" AND {is_asked}"
            count = count_of(others)
            query = f"SELECT {dialect.names(self.key)} FROM {dialect.quoted} WHERE {others} LIMIT {SHOWN}"  # noqa: S608
            named = Named(map(Named.text, dialect.run(tx, query).fetchall()))
            named.count = count
            removed = NO_DIGEST
            if remove and count:
                if self._has_digests:
                    removed = dialect.digests(tx, "", others).all_rows
                dialect.run(tx, f"DELETE FROM {dialect.quoted} WHERE {others}")  # noqa: S608 - quoted
            return LeftRows(count, str(named), removed=remove and count > 0, not_asked=not_asked), removed
