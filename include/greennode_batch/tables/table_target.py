"""TableTarget: a table in any database. It is created or checked, and rows are upserted by key."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pyarrow as pa

from greennode_batch.errors import ConfigError, GreenNodeError
from greennode_batch.job.columns import JOB_ID, ORDER, OWNER_COLUMNS
from greennode_batch.state.column_limit import ColumnLimit
from greennode_batch.state.plan import OrphanedRows
from greennode_batch.state.table_digest import NO_DIGEST, TableDigest
from greennode_batch.tables.answer_trial import refused_answers
from greennode_batch.tables.carried_check import ReadRows, check_carried
from greennode_batch.tables.database_errors import Refusal, fix, refusal, way_out
from greennode_batch.tables.key_check import Keys, check_keys, refuse_unfit
from greennode_batch.tables.key_sample import SHOWN, KeySample
from greennode_batch.tables.key_values import KeyValues
from greennode_batch.tables.sql_dialect import TRIAL, Dialect, Digests, Upserted
from greennode_batch.tables.table_check import additions, check_table
from greennode_batch.tables.table_columns import Column
from greennode_batch.tables.table_proof import prove_table
from greennode_batch.tables.typed_rows import DIGEST, OPTIONAL, found_schema

log = logging.getLogger(__name__)

_SAFE = "No row of this shard was written; its answers are safe in staging."
_AFTER_FIX = "or name another one, and clear join_results: it writes them again, at no cost"


class RefusedValuesError(ConfigError):
    """A table refuses values of a shard's rows. None of them was written; the answers are safe in staging."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """What the database says, without values."""


class TableTarget:
    """A table as a target. Each public method is one transaction, except `prepare`, which may use several.

    add_columns: whether to add columns that the table lacks; without it they are an error, which says how to add them.
    target_id: identifies the target among the job's targets, which may have the same name in different databases; the
    default is the name.
    """

    def __init__(self, dialect: Dialect, *, add_columns: bool = False, target_id: str = "") -> None:
        self.name = dialect.name
        self.target_id = target_id or dialect.name
        self.key = dialect.key
        self.dialect = dialect
        self.add_columns = add_columns
        self.has_unchecked_keys = False
        """Whether `prepare` made the table, and its database could not check the keys of the source before that."""
        self._has_digests = False

    def prepare(self, schema: pa.Schema, *, create: bool = True) -> list[str]:
        """Create the table, or raise ConfigError if the existing one does not fit these columns, types and key.

        create: if False, only check. Returns the statements that would add the OWNER_COLUMNS that the table lacks.
        """
        dialect = self.dialect
        dialect.check_names([*dialect.parts, *schema.names])
        with self._final_as_config_error(), dialect.transaction(writes=create) as tx:
            dialect.lock(tx)
            if existing := dialect.columns(tx):
                dialect.check_kind(tx)
                unique_keys = dialect.unique_keys(tx)
                statements = check_table(dialect, existing, unique_keys, schema, may_add=self.add_columns)
            else:
                statements = [dialect.create_statement(schema)]
            for statement in statements if create else ():
                dialect.run(tx, statement)
        self.has_unchecked_keys = create and not existing and not dialect.undoes_tables
        return self._add_owner_columns(schema, create=create) if existing else []

    def prove(self, rows: pa.Table, *, given: Collection[str], removes: bool = False) -> list[ColumnLimit]:
        """Raise ConfigError if the table refuses what a run writes, which is tried and rolled back.

        For the arguments and what is returned, see `prove_table`. A missing table is made for the trial, if its
        database can undo that.
        """
        with self._final_as_config_error(removes=removes):
            return prove_table(self.dialect, rows, given=given, may_add=self.add_columns, removes=removes)

    def check_carried(self, read: ReadRows, given: Collection[str]) -> None:
        """Raise ConfigError, with the key, for a value of the source that the table refuses; see `check_carried`."""
        with self._final_as_config_error():
            check_carried(self.dialect, read, given)

    def check_keys(self, keys: Keys, values: Mapping[str, KeyValues], *, requested: pa.Table | None = None) -> None:
        """Raise ConfigError, with the keys, if the table takes two of them for one or cannot hold one.

        For the arguments, see key_check.py.
        """
        with self._final_as_config_error():
            check_keys(self.dialect, keys, values, requested=requested)

    @contextmanager
    def _final_as_config_error(self, *, removes: bool = False) -> Iterator[None]:
        """Turn a driver's error that no retry would cure into a ConfigError."""
        try:
            yield
        except self.dialect.error as error:
            refused = refusal(error)
            if not refused.is_final:
                raise
            raise ConfigError(
                f"table {self.name}: {self._reason(refused)}. {way_out(refused, self.dialect, removes=removes)}"
            ) from None

    @contextmanager
    def _safe_answers(self) -> Iterator[None]:
        """Say of a driver's error while answers are written that they are safe, and how they get into the table."""
        try:
            yield
        except self.dialect.error as error:
            refused = refusal(error)
            if not (refused.is_final or refused.is_full):
                raise
            statement = fix(refused, self.dialect)
            words = (
                f"table {self.name} did not accept the answers: {refused.reason}. {_SAFE} Fix the table"
                f"{f' ({statement})' if statement else ''} {_AFTER_FIX}"
            )
            # The driver's own error has the values of the row.
            if refused.is_about_values:
                raise RefusedValuesError(words, refused.reason) from None
            raise (ConfigError if refused.is_final else GreenNodeError)(words) from None

    def _reason(self, refused: Refusal) -> str:
        return refused.reason.replace(TRIAL, self.name)

    def _add_owner_columns(self, schema: pa.Schema, *, create: bool) -> list[str]:
        """Add the owner columns if allowed, and return the statements for those that are still missing."""
        with self.dialect.transaction() as tx:
            statements = additions(self.dialect, self.dialect.columns(tx), _owner_fields(schema))
        if not (statements and create and self.add_columns):
            return statements
        try:
            with self.dialect.transaction(writes=True) as tx:
                for statement in statements:
                    self.dialect.run(tx, statement)
        except self.dialect.error as error:
            # For example, the table belongs to another user. It works without these columns.
            log.info(
                "Table %s: could not add the columns of the row's owner, and works without them: %s",
                self.name,
                " ".join(str(error).split()),
            )
            return statements
        return []

    def write(self, rows: Iterable[pa.Table]) -> Upserted:
        """Upsert the rows by key, batch by batch, in one transaction.

        Some existing rows stay as they are (see standing_rows.py). Raises RefusedValuesError for values that the table
        does not accept.
        """
        given = 0

        def counted() -> Iterator[pa.Table]:
            nonlocal given
            for some in self._there(tx, rows):
                given += some.num_rows
                yield some

        # Deferred constraints are checked at the commit.
        with self._safe_answers(), self.dialect.transaction(writes=True) as tx:
            made = self.dialect.upsert(tx, counted())
            if sum(made) != given:
                # Otherwise an older run's row would stay, and it would look as if a later run had written it.
                raise ConfigError(
                    f"table {self.name} accepted {made.written:,} of {given:,} rows: a trigger or rule rejects some. "
                    f"{_SAFE} Fix the table {_AFTER_FIX}"
                )
            return made

    def refused_answers(self, rows: Iterable[pa.Table], answer: Sequence[str]) -> dict[str, str]:
        """Find the answers that the table refuses, without writing a row: why, by custom_id.

        For the arguments and what is returned, see `refused_answers`.
        """
        try:
            with self.dialect.trial() as tx:
                return refused_answers(self.dialect, tx, self._there(tx, rows), answer)
        except self.dialect.error as error:
            log.info("Table %s: cannot try single answers (%s)", self.name, refusal(error).reason)
            return {}

    def _there(self, tx: Any, rows: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The rows, without owner columns that the table lacks."""
        lacking = set(OWNER_COLUMNS).difference(column.name for column in self.dialect.columns(tx))
        for some in rows:
            yield some.drop_columns([name for name in some.column_names if name in lacking])

    def batches(self, run_id: str, schema: pa.Schema, *, job_id: str | None = None) -> Iterator[pa.Table]:
        """Yield the rows that a run has written, in batches; none if the table does not exist.

        The rows have these columns and types; values that do not fit their type are text. job_id: only this job's rows,
        because other jobs may have runs of the same id; ignored if the table has no JOB_ID column.
        """
        with self.dialect.transaction() as tx:
            if columns := self.dialect.columns(tx):
                yield from self.dialect.read(tx, run_id, schema, _owner_in(job_id, columns))

    def digests(self, run_id: str, *, job_id: str | None = None) -> Digests | None:
        """Compute the digests of all rows and of other runs' rows; None if this database makes no digests.

        A missing table has no rows. job_id: only this job's rows; ignored if the table has no JOB_ID column.
        """
        if not self.dialect.makes_digests:
            return None
        made = Digests(NO_DIGEST, NO_DIGEST)
        try:
            with self.dialect.transaction() as tx:
                if columns := self.dialect.columns(tx):
                    made = self.dialect.digests(tx, run_id, _owner_in(job_id, columns))
        except (self.dialect.driver.ProgrammingError, self.dialect.driver.NotSupportedError) as error:
            log.info(
                "Table %s: the database cannot compute a digest of its rows, so each run looks up all its rows (%s)",
                self.name,
                " ".join(str(error).split()),
            )
            return None
        self._has_digests = True
        return made

    def find(self, keys: pa.Table, *, digests: bool = False) -> pa.Table:
        """Look up the rows with these keys, whichever run wrote them, in the columns of `found_schema`.

        The database converts each key as if it wrote it, so keys that it pads or rounds are found as well. digests: add
        a column DIGEST, if the database makes digests.
        """
        schema = found_schema(keys.schema)
        if digests:
            schema = schema.append(pa.field(DIGEST, pa.int64()))
        return self._look_up(keys, schema)

    def stored(self, keys: pa.Table, fields: Iterable[pa.Field]) -> pa.Table:
        """Look up the rows with these keys, in these columns and `index`, the index of the row's key in `keys`.

        Values that do not fit their type are text. Raises the driver's error for a missing column, unless it is one of
        OPTIONAL, which is then NULL.
        """
        schema = pa.schema([pa.field("index", pa.int64()), *fields])
        return self._look_up(keys, schema)

    def _look_up(self, keys: pa.Table, schema: pa.Schema) -> pa.Table:
        with self._final_as_config_error():
            try:
                with self.dialect.transaction() as tx:
                    names = {column.name for column in self.dialect.columns(tx)}
                    if not names:
                        return schema.empty_table()
                    there = [field for field in schema if field.name in names or field.name not in OPTIONAL]
                    found = self.dialect.look_up(tx, keys, pa.schema(there))
            except self.dialect.error:
                refuse_unfit(self.dialect, keys)  # its error names the key
                raise
        for index, field in enumerate(schema):
            if field not in there:
                found = found.add_column(index, field, pa.nulls(found.num_rows, field.type))
        return found

    def take_over(self, keys: pa.Table, *, job_id: str) -> None:
        """Make the job the owner of rows with these keys that have none yet. The table must have JOB_ID."""
        with self._final_as_config_error(), self.dialect.transaction(writes=True) as tx:
            self.dialect.take_over(tx, keys, job_id)

    def is_there(self, names: Iterable[str]) -> bool:
        """Whether the table exists with these columns and a unique index on the key."""
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
        """Count the rows whose keys are not among these, and remove them if `remove` is set. Holds none of the keys.

        requested: models and samples of the run; rows with other ones are only counted, as `not_requested`. job_id:
        only this job's rows; rows of other jobs or without an owner are neither counted nor removed. order: the run's
        order; rows of later runs are neither counted nor removed. The table's columns JOB_ID and ORDER decide that;
        without them, `job_id` and `order` have no effect. Returns the orphaned rows and a digest of the removed ones,
        if `digests` was computed before.
        """
        dialect = self.dialect
        with ExitStack() as stack:
            stack.enter_context(self._final_as_config_error(removes=remove))
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
    """The job's id if the table has a JOB_ID column, else None."""
    return job_id if any(column.name == JOB_ID for column in columns) else None


def _owner_fields(schema: pa.Schema) -> list[pa.Field]:
    return [field for field in schema if field.name in OWNER_COLUMNS]
