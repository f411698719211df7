"""Query page: the rows of a query, rendered with a user's template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from greennode_batch.analysis.pages.template import render_page
from greennode_batch.errors import ConfigError
from greennode_batch.source.rows import Rows


def query_page(rows: Rows, template: str, *, max_rows: int, **values: Any) -> str:
    """Render a template below `include/jobs` with `rows`, each a mapping of its columns, and with further values.

    Raises ConfigError if there are more rows than `max_rows`, or if the template is missing or wrong.
    """
    held: list[dict[str, Any]] = []
    for row in _mappings(rows):
        if len(held) == max_rows:
            raise ConfigError(
                f"{template}: the query gives more than {max_rows:,} rows; add a LIMIT to it, or raise max_rows"
            )
        held.append(row)
    return render_page(template, rows=held, **values)


def _mappings(rows: Rows) -> Iterator[dict[str, Any]]:
    for batch in rows.batches:
        columns = [batch.values(name) for name in rows.columns]
        yield from (dict(zip(rows.columns, values, strict=True)) for values in zip(*columns, strict=True))
