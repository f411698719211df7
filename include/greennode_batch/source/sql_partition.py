"""SQL part: a query's rows whose key falls to one part, as PostgreSQL tells by a hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from greennode_batch.errors import ConfigError
from greennode_batch.source.partition import Part
from greennode_batch.source.rows import Rows
from greennode_batch.source.sql import is_postgres, read_sql

_END = "; \t\r\n"
_WAY_OUT = (
    "To read it in parts in a way of your own, write the condition into the query, as WHERE mod(id, "
    "{{ partitions }}) = {{ partition }}: each row must fall to one part, from 0"
)


def read_sql_part(
    connection: Any, sql: str, key: Sequence[str], part: Part, parameters: Mapping[str, Any] | None = None
) -> Rows:
    """The rows of a query that fall to a part, as `read_sql` gives them. Rows of equal keys fall to the same part.

    Raises ConfigError for another database than PostgreSQL, or a query that cannot stand within another one.
    """
    if not is_postgres(connection):
        raise ConfigError(f"partitions: only a query on PostgreSQL is divided by its key. {_WAY_OUT}. Nothing was sent")
    try:
        return read_sql(connection, _part_of(sql, key, part), parameters)
    except ConfigError as error:
        raise ConfigError(f"{error}. It was read in parts, within another query. {_WAY_OUT}") from error


def _part_of(sql: str, key: Sequence[str], part: Part) -> str:
    columns = ", ".join('source."' + name.replace('"', '""') + '"' for name in key)
    # The hash is of the values and not of their texts, which hang on a session's time zone and formats. That of a row
    # is never NULL, and without its sign no remainder is negative.
    return (
        f"SELECT source.* FROM (\n{sql.rstrip(_END)}\n) AS source "  # noqa: S608 - of the job's own query
        f"WHERE mod(hash_record_extended(ROW({columns}), 0) & {2**63 - 1}, {part.total}) = {part.number}"
    )
