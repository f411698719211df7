"""Carried check: whether the columns that a run carries over from its source accept the source's values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.errors import ConfigError
from greennode_batch.tables.key_sample import KeySample
from greennode_batch.tables.sql_dialect import PLACE, TRIAL, Dialect
from greennode_batch.tables.table_columns import WAY_OUT, Column

ReadRows = Callable[[Sequence[str]], Iterable[pa.Table]]


def check_carried(dialect: Dialect, read: ReadRows, given: Collection[str]) -> None:
    """Raise ConfigError, with the key, for a value that an existing table refuses.

    read: yields these columns of all rows that the run writes. given: the columns that come from the source. Reads
    nothing if no column is NOT NULL, limited in length or unique; holds one batch of rows.
    """
    with dialect.trial(writes=False) as tx:
        columns = [one for one in dialect.columns(tx) if one.name in given and one.name not in dialect.key]
        strict = [one for one in columns if one.is_not_null or one.max_length is not None]
        if strict:
            for rows in read([*dialect.key, *(column.name for column in strict)]):
                for column in strict:
                    _refuse_null(dialect, column, rows)
                    _refuse_long(dialect, column, rows)
        for unique in dialect.unique_keys(tx):
            if unique and unique <= {*given, *dialect.key} and not unique >= set(dialect.key):
                _refuse_repeated(dialect, tx, sorted(unique), read)


def _refuse_null(dialect: Dialect, column: Column, rows: pa.Table) -> None:
    if column.is_not_null and rows[column.name].null_count:
        key = _key_of(dialect, rows.filter(pc.is_null(rows[column.name])))
        raise ConfigError(
            f"table {dialect.name}: {column.name} must not be NULL, and it is NULL in the row {key}. Nothing was sent. "
            f"Leave such rows out of the source, or change the table. {WAY_OUT}: "
            f"{dialect.alter_column(column.name, 'DROP NOT NULL')}"
        )


def _refuse_long(dialect: Dialect, column: Column, rows: pa.Table) -> None:
    texts = rows[column.name]
    if column.max_length is None or not pa.types.is_string(texts.type):
        return
    # Databases cut spaces at the end.
    lengths = pc.utf8_length(pc.utf8_rtrim(texts, characters=" "))
    is_long = pc.greater(lengths, column.max_length)
    if pc.any(is_long).as_py():
        key, length = _key_of(dialect, rows.filter(is_long)), lengths.filter(is_long)[0].as_py()
        kind = dialect.type_of(rows.schema.field(column.name))
        raise ConfigError(
            f"table {dialect.name}: the column {column.name} holds {column.max_length:,} characters, and the row {key} "
            f"has {length:,}. Nothing was sent. {WAY_OUT}: {dialect.alter_column(column.name, f'TYPE {kind}')}"
        )


def _refuse_repeated(dialect: Dialect, tx: Any, unique: Sequence[str], read: ReadRows) -> None:
    """Raise ConfigError for rows of different keys that a unique index takes for one."""
    names = list(dict.fromkeys([*dialect.key, *unique]))
    dialect.create_staged(tx, TRIAL, [*names, PLACE])
    start = 0
    for rows in read(names):
        dialect.insert(tx, TRIAL, rows.append_column(PLACE, pa.array(range(start, start + rows.num_rows), pa.int64())))
        start += rows.num_rows
    place, columns = f"{TRIAL}.{dialect.quote(PLACE)}", ", ".join(f"{TRIAL}.{dialect.quote(name)}" for name in unique)
    is_row = " AND ".join(f"{TRIAL}.{dialect.quote(name)} IS NOT NULL" for name in unique)
    twice = f"SELECT max({place}) FROM {TRIAL} WHERE {is_row} GROUP BY {columns} HAVING count(*) > 1"  # noqa: S608
    standing = (
        f"SELECT {place} FROM {TRIAL} JOIN {dialect.quoted} ON {dialect.same(TRIAL, unique)} "  # noqa: S608 - quoted
        f"WHERE NOT EXISTS (SELECT 1 FROM {TRIAL} other WHERE {dialect.same('other', dialect.key)})"
    )
    for query, whose in ((twice, "another row of the source"), (standing, "a row of the table")):
        if (found := dialect.run(tx, query).fetchone()) is not None:
            raise ConfigError(
                f"table {dialect.name}: a unique index on ({', '.join(unique)}) refuses the row "
                f"{_key_at(dialect, read, found[0])}, because {whose} has the same value. Nothing was sent. Make the "
                f"key of the job ({', '.join(unique)}), or drop the index. {WAY_OUT}"
            )
    dialect.run(tx, f"DROP TABLE {TRIAL}")


def _key_of(dialect: Dialect, rows: pa.Table) -> str:
    return KeySample.text([rows[name][0].as_py() for name in dialect.key])


def _key_at(dialect: Dialect, read: ReadRows, place: int) -> str:
    for rows in read(dialect.key):
        if place < rows.num_rows:
            return _key_of(dialect, rows.slice(place))
        place -= rows.num_rows
    raise IndexError(place)
