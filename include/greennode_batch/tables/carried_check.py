"""Carried check: whether the columns that a run carries over from its source accept the source's values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.errors import ConfigError
from greennode_batch.source.value_limits import beyond, can_exceed
from greennode_batch.state.column_limit import ColumnLimit
from greennode_batch.tables.database_errors import refusal
from greennode_batch.tables.key_sample import KeySample
from greennode_batch.tables.sql_dialect import PLACE, TRIAL, Dialect, RowRule
from greennode_batch.tables.table_columns import DOMAIN, WAY_OUT, Column
from greennode_batch.tables.trial_rows import first_refused

log = logging.getLogger(__name__)

_SAVED = "greennode_rule"

ReadRows = Callable[[Sequence[str]], Iterable[pa.Table]]


def check_carried(dialect: Dialect, read: ReadRows, given: Collection[str]) -> None:
    """Raise ConfigError, with the key, for a value that an existing table refuses.

    read: yields these columns of all rows that the run writes. given: the columns that come from the source. Reads only
    the first rows if no column limits their values and no constraint is about them; holds one batch of rows.
    """
    with dialect.trial(writes=False) as tx:
        columns = [one for one in dialect.columns(tx) if one.name in given and one.name not in dialect.key]
        columns = [one for one in columns if one.is_not_null or one.limit or dialect.is_to_be_tried(one)]
        schema = _schema_of(read, [*dialect.key, *(column.name for column in columns)]) if columns else pa.schema([])
        strict = [(one, limit) for one in columns if (limit := _limit_on(one, schema)) or one.is_not_null]
        if strict:
            for rows in read([*dialect.key, *(column.name for column, _ in strict)]):
                for column, limit in strict:
                    _refuse_null(dialect, column, rows)
                    _refuse_long(dialect, column, rows)
                    _refuse_beyond(dialect, column, limit, rows)
        known = {*given, *dialect.key}
        rules = [rule for rule in dialect.row_rules(tx) if rule.columns and known.issuperset(rule.columns)]
        tried = [one.name for one in columns if dialect.is_to_be_tried(one) and not _is_sure(one, schema)]
        if rules or tried:
            _refuse_tried(dialect, tx, [*tried, *(name for rule in rules for name in rule.columns)], rules, read)
        for unique in dialect.unique_keys(tx):
            if unique and unique <= known and not unique >= set(dialect.key):
                _refuse_repeated(dialect, tx, sorted(unique), read)


def _schema_of(read: ReadRows, names: Sequence[str]) -> pa.Schema:
    """The types of these columns; without any if there are no rows."""
    first = next(iter(read(names)), None)
    return pa.schema([]) if first is None else first.schema


def _limit_on(column: Column, schema: pa.Schema) -> ColumnLimit | None:
    """What a column holds, if its values may be more and Arrow can say where.

    Whether other texts fit the database knows, but not which of them it cuts or rounds.
    """
    limit = column.limit
    if limit is None or column.name not in schema.names:
        return None
    field = schema.field(column.name)
    is_text = pa.types.is_string(field.type)
    is_compared = not is_text or limit.kind in {"text", "words"} or _may_cut(limit)
    return limit if can_exceed(field, limit) and is_compared else None


def _may_cut(limit: ColumnLimit) -> bool:
    """Whether a column takes texts of finer values than it holds: it rounds them, or drops a time of day or a zone."""
    if limit.kind in {"numeric", "time", "zoned", "interval"}:
        return limit.scale is not None
    return limit.kind in {"date", "timestamp", "money"}


def _beyond(values: pa.ChunkedArray, limit: ColumnLimit) -> pa.Array:
    """For each value, whether the column does not hold it as it is; of texts, whether it would be cut."""
    # Single precision is approximate by its declaration; other columns round without anybody having said so.
    is_beyond = beyond(values, limit, may_round=limit.kind == "real")
    if not (pa.types.is_string(values.type) and _may_cut(limit)):
        return is_beyond
    finer = limit
    if limit.kind in {"date", "timestamp"}:
        finer = msgspec.structs.replace(limit, kind="zoned", scale=None)
    elif limit.kind == "interval":
        finer = msgspec.structs.replace(limit, scale=None)
    # Others are no such value at all, or in a form that only the database reads.
    return pc.and_not(is_beyond, beyond(values, finer, may_round=True))


def _is_sure(column: Column, schema: pa.Schema) -> bool:
    """Whether a column takes the values of its field for certain, or `_refuse_beyond` compares them."""
    if column.name not in schema.names:
        return True
    field, limit = schema.field(column.name), column.limit
    if limit is None or column.kind == DOMAIN:
        return False
    return not pa.types.is_string(field.type) or not can_exceed(field, limit)


def _refuse_beyond(dialect: Dialect, column: Column, limit: ColumnLimit | None, rows: pa.Table) -> None:
    values = rows[column.name]
    if limit is None or (limit.kind == "text" and pa.types.is_string(values.type)):
        return  # _refuse_long has compared such texts
    is_beyond = _beyond(values, limit)
    if pc.any(is_beyond).as_py():
        found, field = rows.filter(is_beyond), rows.schema.field(column.name)
        wider = dialect.widen(limit, field)
        if limit.kind == "words":
            wider = dialect.add_words(field, limit, [found[column.name][0].as_py()])
        raise ConfigError(
            f"table {dialect.name}: the column {column.name} ({limit.type}) holds {limit.holds}, and the row "
            f"{_key_of(dialect, found)} has another value. Nothing was sent. {WAY_OUT}: {wider}"
        )


def _refuse_tried(dialect: Dialect, tx: Any, names: Iterable[str], rules: Iterable[RowRule], read: ReadRows) -> None:
    """Raise ConfigError for a row that a temporary table with the target's types refuses, or that breaks a rule."""
    names = list(dict.fromkeys([*dialect.key, *names]))
    dialect.create_staged(tx, TRIAL, [*names, PLACE])
    for rows in _placed(read, names):
        if refused := first_refused(dialect, tx, rows):
            key = _key_at(dialect, read, refused[0])
            raise ConfigError(
                f"table {dialect.name} cannot hold the row {key}: {refused[1]}. Nothing was sent. Change the row in "
                f"the source, or change the table. {WAY_OUT}"
            )
    for rule in rules:
        place = _broken_at(dialect, tx, rule)
        if place is not None:
            raise ConfigError(
                f"table {dialect.name}: the constraint {rule.name} on ({', '.join(rule.columns)}) refuses the row "
                f"{_key_at(dialect, read, place)}: {rule.reason}. Nothing was sent. Change the row in the source, or "
                f"drop the constraint. {WAY_OUT}: ALTER TABLE {dialect.quoted} DROP CONSTRAINT "
                f"{dialect.quote(rule.name)}"
            )
    dialect.run(tx, f"DROP TABLE {TRIAL}")


def _broken_at(dialect: Dialect, tx: Any, rule: RowRule) -> int | None:
    """The PLACE of a row that breaks a rule; None if there is none, or if the rule cannot be tried."""
    dialect.run(tx, f"SAVEPOINT {_SAVED}")
    try:
        query = f"SELECT {TRIAL}.{dialect.quote(PLACE)} FROM {TRIAL} WHERE {rule.refuses} LIMIT 1"  # noqa: S608 - quoted
        found = dialect.run(tx, query).fetchone()
    except dialect.error as error:
        # For example, the role may not read the table that a foreign key refers to.
        dialect.run(tx, f"ROLLBACK TO SAVEPOINT {_SAVED}")
        log.info("Table %s: the constraint %s cannot be tried (%s)", dialect.name, rule.name, refusal(error).reason)
        return None
    return None if found is None else int(found[0])


def _placed(read: ReadRows, names: Sequence[str]) -> Iterator[pa.Table]:
    """The rows with their PLACE among all of them."""
    start = 0
    for rows in read(names):
        yield rows.append_column(PLACE, pa.array(range(start, start + rows.num_rows), pa.int64()))
        start += rows.num_rows


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
    for rows in _placed(read, names):
        dialect.insert(tx, TRIAL, rows)
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
