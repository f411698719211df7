"""Refused answers: refused.parquet, the answers of a shard that a target refused when they were written.

All that read the results of the shard count them as invalid answers. results.parquet keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.collect.result_rows import RESULT_FIELDS
from greennode_batch.staging.folders import ShardFolder, land, work_folder
from greennode_batch.staging.parquet import read_staged, table_writer
from greennode_batch.state.row_status import RowStatus

_SCHEMA = pa.schema([pa.field("custom_id", pa.string()), pa.field("error", pa.string())])
NO_REFUSED = _SCHEMA.empty_table()
_OF_RESULTS = {field.name for field in RESULT_FIELDS} | {"index", "greennode_final"}


def read_refused(shard: ShardFolder) -> pa.Table:
    """The refused answers of a shard: custom_id, and why."""
    return read_staged(shard.refused) if shard.refused.exists() else NO_REFUSED


def keep_refused(shard: ShardFolder, refused: Mapping[str, str]) -> pa.Table:
    """Keep which answers are refused, and return them. refused: why, by custom_id."""
    rows = pa.table([list(refused), list(refused.values())], schema=_SCHEMA)
    if rows.num_rows:
        with work_folder(shard.path) as work:
            with table_writer(made := Path(work) / "refused.parquet", _SCHEMA) as writer:
                writer.write_table(rows)
            land(made, shard.refused)
    else:
        shard.refused.unlink(missing_ok=True)
    return rows


def without_refused(results: pa.Table, refused: pa.Table) -> pa.Table:
    """The results, with the refused ones among the valid answers as invalid ones."""
    if not refused.num_rows:
        return results
    index = pc.index_in(results["custom_id"], value_set=refused["custom_id"])
    is_refused = pc.and_(pc.is_valid(index), pc.equal(results["status"], RowStatus.SUCCEEDED.value))
    is_refused = pc.fill_null(is_refused, fill_value=False)
    for number, field in enumerate(results.schema):
        if field.name == "status":
            value = RowStatus.INVALID_OUTPUT.value
        elif field.name == "error":
            value = refused["error"].take(index)
        elif field.name not in _OF_RESULTS:
            value = pa.scalar(None, field.type)
        else:
            continue
        results = results.set_column(number, field, pc.if_else(is_refused, value, results[number]))
    return results
