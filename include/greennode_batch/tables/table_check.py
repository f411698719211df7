"""Check whether an existing table accepts a job's rows, before anything is paid."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import OWNER_COLUMNS, SAMPLE
from greennode_batch.tables.sql_dialect import Dialect
from greennode_batch.tables.table_columns import WAY_OUT, Column, Fit

log = logging.getLogger(__name__)

# Columns of a target's primary key that do not come from the source.
_BESIDE_SOURCE_KEY = {"model", SAMPLE}


def check_table(
    dialect: Dialect, existing: Sequence[Column], unique_keys: Collection[set[str]], schema: pa.Schema, *, may_add: bool
) -> list[str]:
    """Check a table and return the statements that add its missing columns, if `may_add` allows it.

    Raises ConfigError for any other mismatch, with the statement that fixes it.
    """
    statements = _additions(dialect, existing, schema, may_add=may_add)
    _check_types(dialect, existing, schema)
    if set(dialect.key) not in unique_keys:
        index = dialect.quote(f"{dialect.parts[-1]}_{'_'.join(dialect.key)}"[:60])
        raise ConfigError(
            f"table {dialect.name} has no unique index on exactly ({', '.join(dialect.key)}), so rows cannot be "
            f"upserted. {WAY_OUT}: CREATE UNIQUE INDEX {index} ON {dialect.quoted} ({dialect.names(dialect.key)})"
        )
    _check_narrower(dialect, unique_keys)
    demanded = [column.name for column in existing if column.is_demanded and column.name not in schema.names]
    if demanded:
        raise ConfigError(
            f"table {dialect.name} requires a value in {', '.join(demanded)}, which this job does not write. "
            f"{WAY_OUT}: ALTER TABLE {dialect.quoted} ALTER COLUMN {dialect.quote(demanded[0])} DROP NOT NULL"
        )
    return statements


def additions(dialect: Dialect, existing: Sequence[Column], fields: Iterable[pa.Field]) -> list[str]:
    """The statements that add the columns that a table lacks."""
    names = {column.name for column in existing}
    return [
        f"ALTER TABLE {dialect.quoted} ADD COLUMN {dialect.quote(field.name)} {dialect.type_of(field)}"
        for field in fields
        if field.name not in names
    ]


def _check_narrower(dialect: Dialect, unique_keys: Collection[set[str]]) -> None:
    """Raise ConfigError for a unique index that allows one answer per row, if the job writes several."""
    key = set(dialect.key)
    for narrower in unique_keys:
        if set() < narrower < key and key - narrower <= _BESIDE_SOURCE_KEY:
            raise ConfigError(
                f"table {dialect.name} has a unique index on ({', '.join(sorted(narrower))}) alone, so it accepts "
                f"one row where this job writes one per {' and '.join(sorted(key - narrower))}. {WAY_OUT}: drop that "
                "index or primary key"
            )


def _additions(dialect: Dialect, existing: Sequence[Column], schema: pa.Schema, *, may_add: bool) -> list[str]:
    names = [column.name for column in existing]
    missing = [field for field in schema if field.name not in {*names, *OWNER_COLUMNS}]
    statements = additions(dialect, existing, missing)
    # A new column is NULL in existing rows, and a key must not be NULL.
    if missing and (not may_add or {field.name for field in missing} & set(dialect.key)):
        raise ConfigError(
            f"table {dialect.name} has no column {', '.join(field.name for field in missing)} (it has "
            f"{', '.join(names)}). {WAY_OUT}: {'; '.join(statements)}"
        )
    return statements


def _check_types(dialect: Dialect, existing: Sequence[Column], schema: pa.Schema) -> None:
    by_name = {column.name: column for column in existing}
    for field in schema:
        column = by_name.get(field.name)
        fits = Fit.ALWAYS if column is None else dialect.fit(field, column)
        if column is None or fits is Fit.ALWAYS:
            continue
        wanted = dialect.type_of(field)
        name = dialect.quote(field.name)
        change = f"ALTER TABLE {dialect.quoted} ALTER COLUMN {name} TYPE {wanted} USING {name}::text::{wanted}"
        words = f"table {dialect.name}: the column {field.name} is {column.type}, and this job writes {wanted}"
        if fits is Fit.NEVER:
            raise ConfigError(f"{words}, which the column cannot hold. {WAY_OUT}: {change}")
        log.warning(
            "%s: an answer that does not fit is invalid_output, and a value of the source that does not stops the "
            "build. To accept all of them: %s",
            words,
            change,
        )
