"""SQL part: the rows of a query whose key hashes to one part, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from greennode_batch.errors import ConfigError
from greennode_batch.source.partition import Part
from greennode_batch.source.rows import Rows
from greennode_batch.source.sql import is_postgres, read_sql

_END = "; \t\r\n"
_WAY_OUT = (
    "To divide it yourself, add a condition such as WHERE mod(id, {{ partitions }}) = {{ partition }} to the query; "
    "parts are counted from 0, and each row must belong to exactly one"
)


def read_sql_part(
    connection: Any, sql: str, key: Sequence[str], part: Part, parameters: Mapping[str, Any] | None = None
) -> Rows:
    """Read the rows of a query that belong to a part, as `read_sql` does. Rows with equal keys belong to the same part.

    Raises ConfigError if the database is not PostgreSQL, or if the query cannot be a subquery.
    """
    if not is_postgres(connection):
        raise ConfigError(
            f"partitions: only a query on PostgreSQL can be divided by its key. {_WAY_OUT}. Nothing was sent"
        )
    try:
        return read_sql(connection, _part_of(sql, key, part), parameters, key=key)
    except ConfigError as error:
        raise ConfigError(
            f"{error}. It ran as a subquery, because partitions divides it by its key. {_WAY_OUT}"
        ) from error


def _part_of(sql: str, key: Sequence[str], part: Part) -> str:
    columns = ", ".join('source."' + name.replace('"', '""') + '"' for name in key)
    # Hash the values, not their texts, which depend on the session's time zone and formats. The hash of a row is never
    # NULL; masking the sign bit keeps the remainder from being negative.
    return (
        f"SELECT source.* FROM (\n{sql.rstrip(_END)}\n) AS source "  # noqa: S608 - of the job's own query
        f"WHERE mod(hash_record_extended(ROW({columns}), 0) & {2**63 - 1}, {part.total}) = {part.number}"
    )
