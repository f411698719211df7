"""Compared rows: read an evaluation's query, with one row per source row and model, into a data frame."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.errors import ConfigError
from greennode_batch.source.rows import RowBatch, Rows
from greennode_batch.state.row_status import RowStatus

NEEDED = ("model", "status", "expected", "said")
NUMBERS = ("score", "prompt_tokens", "completion_tokens")
NO_ANSWER = "(no answer)"
# A separator that no text in a database contains.
_BETWEEN = "\x1f"


def read_compared(rows: Rows, key: Sequence[str]) -> pd.DataFrame:
    """Read the rows into a frame: `row` (the key as one text), `model`, `status`, `expected`, `said`, `right`, numbers.

    `said` is NO_ANSWER if there is none. `right` is whether `said` equals `expected` exactly. The numbers are `score`,
    `prompt_tokens` and `completion_tokens`, if the query has them. If several rows share a request (`custom_id`), only
    the first of them has its tokens. Holds these columns of all rows, about 60 bytes per row, but no other texts.
    Raises ConfigError if the query lacks a column, gives no rows, or gives a row twice for one model.
    """
    lacking = [name for name in (*key, *NEEDED) if name not in rows.columns]
    if lacking:
        raise ConfigError(
            f"the evaluation's query has no column {', '.join(lacking)}; it must give one row per source row "
            f"and model, with the columns {', '.join((*key, *NEEDED))} (AS … names a column)"
        )
    parts = [_part(batch, key, rows.columns) for batch in rows.batches]
    if not parts:
        raise ConfigError(
            "the evaluation's query gives no rows; run the job that it reads first, and check its WHERE clause"
        )
    table = pa.concat_tables(parts)
    texts = ("row", "model", "status", "expected", "said")
    for name in texts:
        table = table.set_column(table.column_names.index(name), name, table[name].combine_chunks().dictionary_encode())
    frame: pd.DataFrame = table.to_pandas()
    twice = frame.duplicated(["row", "model"])
    if twice.any():
        first = frame[twice].iloc[0]
        raise ConfigError(
            f"the evaluation's query gives row {shown_key(first['row'])} twice for model {first['model']}; check "
            "its joins, which must find one row each"
        )
    if "custom_id" in frame:
        frame.loc[frame.duplicated(["custom_id"]) & frame["custom_id"].notna(), list(NUMBERS[1:])] = 0
        frame = frame.drop(columns="custom_id")
    return frame


def row_names(batch: RowBatch, key: Sequence[str]) -> pa.Array:
    """The keys of the rows, each as one text."""
    return pc.binary_join_element_wise(*(_texts(batch, name) for name in key), _BETWEEN)


def shown_key(row: str) -> str:
    """Format a key of `row_names` for people."""
    return row.replace(_BETWEEN, ", ")


def _part(batch: RowBatch, key: Sequence[str], columns: Sequence[str]) -> pa.Table:
    status, said, expected = (_texts(batch, name) for name in ("status", "said", "expected"))
    is_said = pc.and_(pc.equal(status, RowStatus.SUCCEEDED.value), pc.is_valid(said))
    said = pc.if_else(is_said, said, NO_ANSWER)
    made = {
        "row": row_names(batch, key),
        "model": _texts(batch, "model"),
        "status": status,
        "expected": expected,
        "said": said,
        "right": pc.fill_null(pc.and_(is_said, pc.equal(said, expected)), False),
    }
    for name in NUMBERS:
        empty = pa.nulls(len(batch), pa.float64())
        made[name] = pc.cast(batch.array(name), pa.float64()) if name in columns else empty
    if "custom_id" in columns:
        made["custom_id"] = _texts(batch, "custom_id")
    return pa.table(made)


def _texts(batch: RowBatch, name: str) -> pa.Array:
    return pc.cast(batch.array(name), pa.string())
