"""The page of a query: a template of a user's own over its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from greennode_batch.analysis.pages.template import render_page
from greennode_batch.errors import ConfigError
from greennode_batch.source.rows import Rows


def query_page(rows: Rows, template: str, *, max_rows: int, **values: Any) -> str:
    """The page that a template below `include/jobs` makes of `rows`, each a mapping of its columns, and of the values.

    Raises ConfigError for more rows than `max_rows`, or a template that is missing or wrong.
    """
    held: list[dict[str, Any]] = []
    for row in _mappings(rows):
        if len(held) == max_rows:
            raise ConfigError(f"{template}: the query gives more than {max_rows:,} rows (max_rows); a page shows few")
        held.append(row)
    return render_page(template, rows=held, **values)


def _mappings(rows: Rows) -> Iterator[dict[str, Any]]:
    for batch in rows.batches:
        columns = [batch.values(name) for name in rows.columns]
        yield from (dict(zip(rows.columns, values, strict=True)) for values in zip(*columns, strict=True))
