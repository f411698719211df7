"""Join: each source row of a shard meets the result of its request, by custom_id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greennode_batch.build.retry import later_shards
from greennode_batch.collect.results import RESULT_FIELDS
from greennode_batch.collect.verdicts import RowStatus
from greennode_batch.errors import ConfigError
from greennode_batch.job import RESULT_COLUMNS
from greennode_batch.staging import ShardFolder, local_copy, read_table

_SOURCE_OWN = ("model", "custom_id", "unsent")
_SOURCE_TYPES = {"model": pa.string(), "run_id": pa.string()}


def join_shard(shard: ShardFolder, *, run_id: str, answer_fields: Sequence[pa.Field]) -> pa.Table:
    """One row per source row of the shard, in the target's columns and order. Holds one shard.

    What a later attempt says of a request takes the place of what was said before.
    """
    with local_copy(shard.source) as path:
        source = read_table(path)
    results = _read_results(shard, source, [*RESULT_FIELDS, *answer_fields])
    return join_tables(source, results, run_id=run_id, answer_fields=answer_fields)


def row_statuses(shard: ShardFolder, key: Sequence[str]) -> pa.Table:
    """Key, custom_id and status of the shard's rows, as `join_shard` joins them. Reads neither answers nor texts."""
    with local_copy(shard.source) as path:
        source = read_table(path, [*key, "custom_id", "unsent"])
    results = _read_results(shard, source, [field for field in RESULT_FIELDS if field.name in {"custom_id", "status"}])
    place = pc.index_in(source["custom_id"], results["custom_id"])
    return source.drop_columns("unsent").append_column("status", _statuses(source, results.take(place), place))


def join_tables(
    source: pa.Table,
    results: pa.Table,
    *,
    run_id: str,
    answer_fields: Sequence[pa.Field],
) -> pa.Table:
    """Source rows with their results: a row without a result is `missing`, one that was not sent `unsent`."""
    place = pc.index_in(source["custom_id"], results["custom_id"])
    matched = results.take(place)
    unsent = source["unsent"]
    is_missing = _is_missing(source, place)
    error = pc.if_else(is_missing, "no result names this request", pc.coalesce(unsent, matched["error"]))
    rows = source.num_rows
    columns = {
        "status": _statuses(source, matched, place),
        "error": error,
        "model": source["model"],
        "custom_id": source["custom_id"],
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


def _statuses(source: pa.Table, matched: pa.Table, place: pa.ChunkedArray) -> pa.ChunkedArray:
    status = pc.if_else(pc.is_valid(source["unsent"]), RowStatus.UNSENT.value, matched["status"])
    return pc.if_else(_is_missing(source, place), RowStatus.MISSING.value, status)


def _is_missing(source: pa.Table, place: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.and_not(pc.is_null(place), pc.is_valid(source["unsent"]))


def joined_schema(source: pa.Schema, answer_fields: Iterable[pa.Field]) -> pa.Schema:
    """The target's columns: key and carried columns, the answer, then what became of the row."""
    kept = [field for field in source if field.name not in _SOURCE_OWN]
    types = _SOURCE_TYPES | {field.name: field.type for field in RESULT_FIELDS}
    return pa.schema([*kept, *answer_fields, *(pa.field(name, types[name]) for name in RESULT_COLUMNS)])


def _read_results(shard: ShardFolder, source: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
    if shard.results.exists():
        results = _results_of(shard, fields)
        for later in later_shards(shard.run, shard.shard_id):
            if later.results.exists():
                results = _overlaid(results, _results_of(later, fields))
        return results
    if source["custom_id"].null_count < source.num_rows:
        raise ConfigError(f"{shard}: its results were not collected yet; run collect_results for this shard first")
    return pa.schema(fields).empty_table()


def _results_of(shard: ShardFolder, fields: Sequence[pa.Field]) -> pa.Table:
    wanted = pa.schema(fields)
    with local_copy(shard.results) as path:
        if not set(wanted.names) <= set(pq.read_schema(path).names):
            raise ConfigError(
                f"{shard}: its results are of another answer model; run collect_results again, at no cost"
            )
        results = read_table(path, wanted.names)
    return results.select(wanted.names).replace_schema_metadata(None)


def _overlaid(before: pa.Table, after: pa.Table) -> pa.Table:
    """The results with those of a later attempt in the place of what they asked again."""
    after = after.filter(pc.is_in(after["custom_id"], value_set=before["custom_id"].combine_chunks()))
    kept = before.filter(pc.invert(pc.is_in(before["custom_id"], value_set=after["custom_id"].combine_chunks())))
    return pa.concat_tables([kept, after])
