"""Whether a table that is there can take what a job writes, found out before anything is paid."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import SAMPLE
from greennode_batch.tables.columns import Column, Fit

if TYPE_CHECKING:
    from greennode_batch.tables.sql_table import SqlTable

log = logging.getLogger(__name__)

# Of the columns of a target's key, those that are not the source's.
_BESIDE_SOURCE_KEY = {"model", SAMPLE}
_WAY_OUT = "Name another table, or mend this one and run this step again; nothing is paid twice"


def check_table(
    table: SqlTable, existing: Sequence[Column], unique_keys: Collection[set[str]], schema: pa.Schema
) -> list[str]:
    """The statements that add the columns that are missing and may be added.

    Raises ConfigError for what they do not mend, with the statement that does.
    """
    additions = _additions(table, existing, schema)
    _check_types(table, existing, schema)
    if set(table.key) not in unique_keys:
        index = table.quote(f"{table.parts[-1]}_{'_'.join(table.key)}"[:60])
        raise ConfigError(
            f"table {table.name} has no unique index on exactly ({', '.join(table.key)}), so rows cannot be "
            f"upserted. {_WAY_OUT}: CREATE UNIQUE INDEX {index} ON {table.quoted} ({table.quoted_key})"
        )
    _check_narrower(table, unique_keys)
    demanded = [column.name for column in existing if column.is_demanded and column.name not in schema.names]
    if demanded:
        raise ConfigError(
            f"table {table.name} demands a value in {', '.join(demanded)}, which this job does not give. {_WAY_OUT}: "
            f"ALTER TABLE {table.quoted} ALTER COLUMN {table.quote(demanded[0])} DROP NOT NULL"
        )
    return additions


def _check_narrower(table: SqlTable, unique_keys: Collection[set[str]]) -> None:
    """Refuse an index that takes one answer to each row, where the job asks for several."""
    key = set(table.key)
    for narrower in unique_keys:
        if set() < narrower < key and key - narrower <= _BESIDE_SOURCE_KEY:
            raise ConfigError(
                f"table {table.name} has a unique index on ({', '.join(sorted(narrower))}) alone, so it takes one row "
                f"where this job writes one for each {' and '.join(sorted(key - narrower))}. {_WAY_OUT}: drop that "
                "index, or that primary key"
            )


def _additions(table: SqlTable, existing: Sequence[Column], schema: pa.Schema) -> list[str]:
    names = [column.name for column in existing]
    missing = [field for field in schema if field.name not in names]
    statements = [
        f"ALTER TABLE {table.quoted} ADD COLUMN {table.quote(field.name)} {table.type_of(field)}" for field in missing
    ]
    # A column that is added is NULL in the rows that are there, which a key may not be.
    if missing and (not table.add_columns or {field.name for field in missing} & set(table.key)):
        raise ConfigError(
            f"table {table.name} has no column {', '.join(field.name for field in missing)} (it has "
            f"{', '.join(names)}). {_WAY_OUT}: {'; '.join(statements)}"
        )
    return statements


def _check_types(table: SqlTable, existing: Sequence[Column], schema: pa.Schema) -> None:
    by_name = {column.name: column for column in existing}
    for field in schema:
        column = by_name.get(field.name)
        fits = Fit.ALWAYS if column is None else table.fit(field, column)
        if column is None or fits is Fit.ALWAYS:
            continue
        wanted = table.type_of(field)
        name = table.quote(field.name)
        change = f"ALTER TABLE {table.quoted} ALTER COLUMN {name} TYPE {wanted} USING {name}::text::{wanted}"
        words = f"table {table.name}: the column {field.name} is {column.type}, and this job writes {wanted}"
        if fits is Fit.NEVER:
            raise ConfigError(f"{words}, which it cannot take. {_WAY_OUT}: {change}")
        log.warning("%s: a row with a value that it cannot take will be refused. If that may be: %s", words, change)
