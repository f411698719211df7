"""Join: each source row of a shard meets the result of its request, by custom_id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greennode_batch.collect.results import RESULT_FIELDS, RowStatus
from greennode_batch.errors import ConfigError
from greennode_batch.job import RESULT_COLUMNS
from greennode_batch.receipts import read_receipt
from greennode_batch.staging import ShardFolder, local_copy

_SOURCE_OWN = ("model", "custom_id", "unsent")
_SOURCE_TYPES = {"model": pa.string(), "batch_id": pa.string(), "run_id": pa.string()}


def join_shard(shard: ShardFolder, *, run_id: str, answer_fields: Sequence[pa.Field]) -> pa.Table:
    """One row per source row of the shard, in the target's columns and order. Holds one shard."""
    with local_copy(shard.source) as path:
        source = pq.read_table(path)
    receipt = read_receipt(shard)
    return join_tables(
        source,
        _read_results(shard, source, answer_fields),
        batch_id=receipt.batch_id if receipt else None,
        run_id=run_id,
        answer_fields=answer_fields,
    )


def join_tables(
    source: pa.Table,
    results: pa.Table,
    *,
    batch_id: str | None,
    run_id: str,
    answer_fields: Sequence[pa.Field],
) -> pa.Table:
    """Source rows with their results: a row without a result is `missing`, one that was not sent `unsent`."""
    place = pc.index_in(source["custom_id"], results["custom_id"])
    matched = results.take(place)
    unsent = source["unsent"]
    is_unsent = pc.is_valid(unsent)
    is_missing = pc.and_not(pc.is_null(place), is_unsent)
    status = pc.if_else(is_unsent, RowStatus.UNSENT.value, matched["status"])
    status = pc.if_else(is_missing, RowStatus.MISSING.value, status)
    error = pc.if_else(is_missing, "no result names this request", pc.coalesce(unsent, matched["error"]))
    rows = source.num_rows
    columns = {
        "status": status,
        "error": error,
        "model": source["model"],
        "custom_id": source["custom_id"],
        "batch_id": pc.if_else(is_unsent, None, pa.array([batch_id] * rows, pa.string())),
        "run_id": pa.array([run_id] * rows, pa.string()),
    }
    schema = joined_schema(source.schema, answer_fields)
    arrays = []
    for field in schema:
        if field.name in columns:
            arrays.append(columns[field.name])
        else:
            arrays.append((source if field.name in source.column_names else matched)[field.name])
    return pa.table(arrays, schema=schema)


def joined_schema(source: pa.Schema, answer_fields: Iterable[pa.Field]) -> pa.Schema:
    """The target's columns: key and carried columns, the answer, then what became of the row."""
    kept = [field for field in source if field.name not in _SOURCE_OWN]
    types = _SOURCE_TYPES | {field.name: field.type for field in RESULT_FIELDS}
    return pa.schema([*kept, *answer_fields, *(pa.field(name, types[name]) for name in RESULT_COLUMNS)])


def _read_results(shard: ShardFolder, source: pa.Table, answer_fields: Sequence[pa.Field]) -> pa.Table:
    if shard.results.exists():
        with local_copy(shard.results) as path:
            results = pq.read_table(path)
        if not {field.name for field in answer_fields} <= set(results.column_names):
            raise ConfigError(
                f"{shard}: its results are of another answer model; run collect_results again, at no cost"
            )
        return results
    if source["custom_id"].null_count < source.num_rows:
        raise ConfigError(f"{shard}: its results were not collected yet; run collect_results for this shard first")
    return pa.schema([*RESULT_FIELDS, *answer_fields]).empty_table()
