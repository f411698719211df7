"""Key check: whether a table keeps the keys of a source apart and can hold each of them, before anything is paid.

For most keys, types and lengths decide. The database itself compares the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.source.column_types import settle, unify
from greennode_batch.tables.database_errors import refusal
from greennode_batch.tables.key_sample import KeySample
from greennode_batch.tables.key_values import INDEX_BYTES, KeyValues
from greennode_batch.tables.sql_dialect import PLACE, TRIAL, Dialect
from greennode_batch.tables.table_columns import WAY_OUT
from greennode_batch.tables.trial_rows import first_refused

log = logging.getLogger(__name__)

Keys = Callable[[], Iterable[pa.Table]]

_NAMED, _SHOWN_CHARACTERS = 5, 80


def check_keys(
    dialect: Dialect, keys: Keys, values: Mapping[str, KeyValues], *, requested: pa.Table | None = None
) -> None:
    """Raise ConfigError, with the keys, if the table takes two keys for one, or cannot hold a key.

    keys: gives all keys of the source, a few thousand at a time, each time it is called; no two are equal. values: each
    of their columns, summed up. requested: the values of the further columns of the table's key, if it has any.
    Changes nothing, and holds one batch of keys.
    """
    with dialect.trial(writes=False) as tx:
        columns = {column.name: column for column in dialect.columns(tx)}
        if not columns:
            if not dialect.undoes_tables or all(dialect.keeps_apart(None, one) for one in values.values()):
                return  # this database cannot undo a table, so the keys are checked once the table is there
            dialect.run(tx, dialect.create_statement(_key_schema(keys, requested)))
            columns = {column.name: column for column in dialect.columns(tx)}
        if not columns.keys() >= set(dialect.key):
            return  # preparing the target says so
        collations = dialect.collations(tx)
        odd = [
            name for name, one in values.items() if name in collations or not dialect.keeps_apart(columns[name], one)
        ]
        rule = dialect.partition_rule(tx)
        if not (odd or rule):
            return
        try:
            dialect.create_staged(tx, TRIAL, [*dialect.key, PLACE])
        except dialect.error as error:
            log.info(
                "Table %s: the database cannot compare the keys before they are sent, because it accepts no temporary "
                "table (%s)",
                dialect.name,
                refusal(error).reason,
            )
            return
        compared = _ComparedKeys(dialect, tx, keys, requested)
        compared.refuse_unfit()
        types = ", ".join(f"{name} is {columns[name].type}" for name in odd)
        compared.refuse_equal(odd, types, collations)
        if rule:
            compared.refuse_unplaced(rule)
        if sum(one.most_bytes for one in values.values()) > INDEX_BYTES:
            compared.refuse_large(collations)


def refuse_unfit(dialect: Dialect, keys: pa.Table) -> None:
    """Raise ConfigError for a key that the table cannot hold. keys: those of an existing table."""
    with dialect.trial(writes=False) as tx:
        dialect.create_staged(tx, TRIAL, [*dialect.key, PLACE])
        _ComparedKeys(dialect, tx, lambda: [keys], None).refuse_unfit()


class _ComparedKeys:
    """All keys of a source in a temporary table with the target's column types."""

    def __init__(self, dialect: Dialect, tx: Any, keys: Keys, requested: pa.Table | None) -> None:
        self._dialect, self._tx, self._keys, self._requested = dialect, tx, keys, requested
        self._place = dialect.quote(PLACE)

    def refuse_unfit(self) -> None:
        """Put the keys into the table. Raise ConfigError for one that does not fit."""
        start = 0
        for some in self._keys():
            placed = _beside(some, self._requested).append_column(
                PLACE, pa.array(range(start, start + some.num_rows), pa.int64())
            )
            start += some.num_rows
            if refused := first_refused(self._dialect, self._tx, placed):
                raise self._unfit(*refused)
        nulls = " OR ".join(f"{self._dialect.quote(name)} IS NULL" for name in self._dialect.key)
        for (place,) in self._found(f"SELECT {self._place} FROM {TRIAL} WHERE {nulls}"):  # noqa: S608 - quoted
            raise self._unfit(place, "the database makes NULL of it")

    def refuse_equal(self, odd: Sequence[str], types: str, collations: Mapping[str, str]) -> None:
        """Raise ConfigError for keys that are equal in the table. types: those of the odd columns, in words."""
        query = (
            f"SELECT min({self._place}), max({self._place}) FROM {TRIAL} "  # noqa: S608 - quoted
            f"GROUP BY {self._terms(collations)} HAVING count(*) > 1"
        )
        pairs = self._found(query)
        if not pairs:
            return
        said = "; ".join(" and ".join(self._key_at(place) for place in pair) for pair in pairs[:_NAMED])
        more = " and others" if len(pairs) > _NAMED else ""
        schema = _key_schema(self._keys, self._requested)
        kinds = {name: self._dialect.type_of(schema.field(name)) for name in odd}
        kinds |= {name: f'{kinds[name]} COLLATE "default"' for name in collations if name in kinds}
        fixes = "; ".join(self._dialect.alter_column(name, f"TYPE {kind}") for name, kind in kinds.items())
        raise ConfigError(
            f"table {self._dialect.name} takes different keys of the source for one: {said}{more} ({types}). Only one "
            f"row of each would stay. Nothing was sent. Make the keys differ in the source, or change the table. "
            f"{WAY_OUT}: {fixes}"
        )

    def refuse_unplaced(self, rule: str) -> None:
        """Raise ConfigError for a key that no partition takes. rule: the condition that one does."""
        *schema, table = self._dialect.parts
        default = ".".join(map(self._dialect.quote, [*schema, f"{table}_default"]))
        for (place,) in self._found(f"SELECT {self._place} FROM {TRIAL} WHERE ({rule}) IS NOT TRUE"):  # noqa: S608
            raise ConfigError(
                f"table {self._dialect.name} has no partition for the key {self._key_at(place)}. Nothing was sent. "
                f"{WAY_OUT}: CREATE TABLE {default} PARTITION OF {self._dialect.quoted} DEFAULT"
            )

    def refuse_large(self, collations: Mapping[str, str]) -> None:
        """Raise ConfigError for a key that is too large for an index."""
        if refused := self._dialect.too_large(self._tx, TRIAL, self._terms(collations)):
            place, reason = refused
            raise ConfigError(
                f"table {self._dialect.name}: its unique index cannot hold the key {self._key_at(place)}: {reason}. "
                "Nothing was sent. Use a shorter key, such as a hash of this one (md5(…) in the query)"
            )

    def _terms(self, collations: Mapping[str, str]) -> str:
        return ", ".join(f"{self._dialect.quote(name)}{collations.get(name, '')}" for name in self._dialect.key)

    def _found(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._dialect.run(self._tx, query).fetchmany(_NAMED + 1)]

    def _unfit(self, place: int, reason: str) -> ConfigError:
        return ConfigError(
            f"table {self._dialect.name} cannot hold the key {self._key_at(place)}: {reason}. Nothing was sent. "
            f"Change the key in the source. {WAY_OUT}"
        )

    def _key_at(self, place: int) -> str:
        for some in self._keys():
            if place < some.num_rows:
                text = KeySample.text([column[place].as_py() for column in some.columns])
                is_short = len(text) <= _SHOWN_CHARACTERS
                return text if is_short else f"{text[:_SHOWN_CHARACTERS]}… ({len(text):,} characters)"
            place -= some.num_rows
        raise IndexError(place)


def _key_schema(keys: Keys, requested: pa.Table | None) -> pa.Schema:
    return settle(unify([_beside(some.slice(0, 0), requested).schema for some in keys()]))


def _beside(keys: pa.Table, requested: pa.Table | None) -> pa.Table:
    """The keys with the longest value of each further column, which takes the most room in an index."""
    if requested is None:
        return keys
    for name in requested.column_names:
        longest = max(requested[name].to_pylist(), key=lambda value: len(str(value)))
        keys = keys.append_column(name, pa.repeat(pa.scalar(longest), keys.num_rows))
    return keys
