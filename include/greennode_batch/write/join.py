"""Join: match each source row of a shard with the result of its request, by custom_id.

Rows are joined a few thousand at a time, because any number of them may share one request.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from greennode_batch.collect.results import RESULT_FIELDS
from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import OWNER_COLUMNS, RESULT_COLUMNS
from greennode_batch.plan.source_rows import OWN_COLUMNS
from greennode_batch.staging.folders import ShardFolder, local_copy
from greennode_batch.staging.parquet import read_pieces
from greennode_batch.state.attempts import settling_shards
from greennode_batch.state.plan import refuse_emptied
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.state.row_status import RowStatus
from greennode_batch.state.split import parts_of
from greennode_batch.write.final_outcomes import FinalOutcomes
from greennode_batch.write.refused_answers import keep_refused, read_refused, without_refused
from greennode_batch.write.result_parts import FINAL, ResultParts

_SOURCE_TYPES = dict.fromkeys(("model", "run_id", *OWNER_COLUMNS), pa.string())
_JOINED_FIELDS = tuple(field for field in RESULT_FIELDS if field.name in RESULT_COLUMNS)
_STATUS_FIELDS = tuple(field for field in RESULT_FIELDS if field.name in {"custom_id", "status"})
_OUTCOME_FIELDS = tuple(field for field in RESULT_FIELDS if field.name in {"custom_id", "status", "error"})
# Result texts per piece; the row groups of source.parquet have a few megabytes.
_PIECE_BYTES = 16 << 20


class _CopiedParts:
    """The stored outcomes of a shard that is copied from one target to another, in the order of source.parquet."""

    def __init__(self, file: pq.ParquetFile, fields: Sequence[pa.Field], refused: pa.Table) -> None:
        self.refused = refused
        self._file = file
        self._names = [*dict.fromkeys([*(field.name for field in fields), "greennode_final"])]

    def beside(self, source: pq.ParquetFile, columns: Sequence[str]) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Yield source rows in these columns, and their stored outcomes, row by row."""
        stored = read_pieces(self._file, self._names)
        held = self._file.schema_arrow.empty_table().select(self._names)
        for rows in read_pieces(source, columns):
            while held.num_rows < rows.num_rows:
                held = pa.concat_tables([held, next(stored)])
            yield rows, without_refused(held.slice(0, rows.num_rows), self.refused)
            held = held.slice(rows.num_rows)


class JoinedRows:
    """An iterable of joined rows: one per source row of a shard, with the target's columns. It can be iterated again.

    A row without a result is `missing`, and one that was not sent is `unsent`. A copied row has its stored outcome.
    Columns that are not read from the results are NULL. Holds a few megabytes of rows and 32 MB of results.
    """

    def __init__(
        self,
        shard: ShardFolder,
        source: pq.ParquetFile,
        results: ResultParts | _CopiedParts,
        *,
        owner: RowOwner,
        answer_fields: Sequence[pa.Field],
        final: FinalOutcomes | None,
    ) -> None:
        self.schema = joined_schema(source.schema_arrow, answer_fields)
        self.answer = [field.name for field in answer_fields]
        """The columns of the answer."""
        self._shard = shard
        self._source = source
        self._results = results
        self._owner = owner
        self._final = final

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield a few thousand rows at a time."""
        for source, matched in _matched(self._source, self._source.schema_arrow.names, self._results):
            yield self._joined(source, matched)

    def refuse(self, refused: Mapping[str, str]) -> None:
        """Count these answers as invalid, and all others as they are, from now on and in staging.

        refused: why, by custom_id.
        """
        if refused or self._results.refused.num_rows:
            self._results.refused = keep_refused(self._shard, refused)

    def _joined(self, source: pa.Table, matched: pa.Table) -> pa.Table:
        columns = {
            **_outcomes(source, matched, self._final),
            "model": source["model"],
            "custom_id": source["custom_id"],
            **{name: pa.repeat(pa.scalar(value, pa.string()), source.num_rows) for name, value in self._written_by()},
        }
        found = _by_name(matched) | _by_name(source) | columns
        arrays = [found.get(field.name, pa.nulls(source.num_rows, field.type)) for field in self.schema]
        return pa.table(arrays, schema=self.schema)

    def _written_by(self) -> Iterator[tuple[str, str | None]]:
        yield from zip(("run_id", "greennode_job", "greennode_order"), self._owner, strict=True)


@contextmanager
def join_shard(
    shard: ShardFolder,
    *,
    owner: RowOwner,
    answer_fields: Sequence[pa.Field],
    keep_reasoning: bool = False,
    final: FinalOutcomes | None = None,
    in_part: bool = False,
) -> Iterator[JoinedRows]:
    """Open a shard's source rows joined with their results. The latest attempt with a result wins.

    owner: the owner to write into the rows. keep_reasoning: whether to fill `reasoning`; staging keeps it either way,
    so it can be joined later. final: fills `greennode_final`, which is NULL otherwise. in_part: whether one collected
    half is enough for a shard that was split. Raises ConfigError for a shard that is not collected yet, or was
    collected for another answer model.
    """
    kept = [field for field in _JOINED_FIELDS if keep_reasoning or field.name != "reasoning"]
    with _opened(shard, [*kept, *answer_fields], final, in_part=in_part) as (source, results):
        yield JoinedRows(shard, source, results, owner=owner, answer_fields=answer_fields, final=final)


def row_statuses(shard: ShardFolder, key: Sequence[str]) -> Iterator[pa.Table]:
    """Yield key, custom_id and status of the shard's rows, as `join_shard` joins them, without reading answers."""
    with _opened(shard, _STATUS_FIELDS) as (opened, results):
        for source, matched in _matched(opened, [*key, "custom_id", "unsent"], results):
            yield source.drop_columns("unsent").append_column("status", _statuses(source, matched))


def row_outcomes(shard: ShardFolder, names: Sequence[str], final: FinalOutcomes) -> Iterator[pa.Table]:
    """Yield columns of the shard's source rows with custom_id, status, error and `greennode_final`, as joined."""
    with _opened(shard, _OUTCOME_FIELDS, final) as (opened, results):
        for source, matched in _matched(opened, [*names, "custom_id", "unsent"], results):
            rows = source.drop_columns("unsent")
            for name, values in _outcomes(source, matched, final).items():
                rows = rows.append_column(name, values)
            yield rows


def joined_schema(source: pa.Schema, answer_fields: Iterable[pa.Field]) -> pa.Schema:
    """The target's columns: key and carried columns, the answer, then the outcome and the owner."""
    kept = [field for field in source if field.name not in OWN_COLUMNS]
    types = _SOURCE_TYPES | {field.name: field.type for field in RESULT_FIELDS}
    return pa.schema(
        [*kept, *answer_fields, *(pa.field(name, types[name]) for name in (*RESULT_COLUMNS, *OWNER_COLUMNS))]
    )


def _matched(
    file: pq.ParquetFile, columns: Sequence[str], results: ResultParts | _CopiedParts
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield source rows and their results, row by row; NULLs where there is no result."""
    if isinstance(results, _CopiedParts):
        yield from results.beside(file, columns)
        return
    for number, part in enumerate(results):
        sizes = _sizes(part)
        for source in read_pieces(file, columns):
            index = pc.index_in(source["custom_id"], value_set=part["custom_id"])
            rows = source
            if index.null_count:
                mine = pc.is_valid(index)
                if number == 0:
                    # The first part also takes the rows without any result.
                    mine = pc.or_(mine, pc.invert(pc.is_in(source["custom_id"], value_set=results.requested)))
                rows, index = source.filter(mine), index.filter(mine)
            for start, stop in _cuts(sizes[index.fill_null(len(sizes) - 1).to_numpy()]):
                yield rows.slice(start, stop - start), part.take(index.slice(start, stop - start))
        del part  # not to hold two parts while the next one is read


def _sizes(results: pa.Table) -> npt.NDArray[np.int64]:
    """The bytes of each row's texts, then a 0 for source rows without a result."""
    sizes = np.zeros(results.num_rows + 1, np.int64)
    for column in results.columns:
        if pa.types.is_string(column.type):
            sizes[:-1] += pc.fill_null(pc.binary_length(column), 0).to_numpy()
    return sizes


def _cuts(sizes: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield start and stop of pieces of rows, so that no piece is much larger than the limit."""
    numbers = np.cumsum(sizes) // _PIECE_BYTES
    cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(sizes)]
    yield from ((start, stop) for start, stop in itertools.pairwise(cuts) if stop > start)


def _by_name(rows: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(rows.column_names, rows.columns, strict=True))


def _statuses(source: pa.Table, matched: pa.Table) -> pa.ChunkedArray:
    status = pc.if_else(pc.is_valid(source["unsent"]), RowStatus.UNSENT.value, matched["status"])
    return pc.if_else(_is_missing(source, matched), RowStatus.MISSING.value, status)


def _outcomes(source: pa.Table, matched: pa.Table, final: FinalOutcomes | None) -> dict[str, pa.ChunkedArray]:
    error = pc.coalesce(source["unsent"], matched["error"])
    made = {
        "status": _statuses(source, matched),
        "error": pc.if_else(_is_missing(source, matched), "no result names this request", error),
    }
    if final is not None:
        made[FINAL.name] = pc.coalesce(final.of_unsent(source["unsent"]), matched[FINAL.name])
    return made


def _is_missing(source: pa.Table, matched: pa.Table) -> pa.ChunkedArray:
    return pc.and_not(pc.is_null(matched["custom_id"]), pc.is_valid(source["unsent"]))


@contextmanager
def _opened(
    shard: ShardFolder, fields: Sequence[pa.Field], final: FinalOutcomes | None = None, *, in_part: bool = False
) -> Iterator[tuple[pq.ParquetFile, ResultParts | _CopiedParts]]:
    """Open the shard's source file and its results, in these columns."""
    with ExitStack() as stack:

        def opened(path: UPath) -> pq.ParquetFile:
            return stack.enter_context(pq.ParquetFile(stack.enter_context(local_copy(path))))

        if not shard.source.exists():
            refuse_emptied(shard.run)
        source, refused = opened(shard.source), read_refused(shard)
        if shard.copied.exists():
            copied = opened(shard.copied)
            _check_fields(
                copied, fields, f"{shard}: its answers were copied for another answer model; clear build_requests"
            )
            yield source, _CopiedParts(copied, fields, refused)
            return
        files, stops, attempts = [], [], []
        are_collected = (part.results.exists() for part in parts_of(shard))
        if (any if in_part else all)(are_collected):
            for one, stop in settling_shards(shard.run, shard.shard_id):
                if one.results.exists():
                    files.append(opened(one.results))
                    stops.append(stop)
                    attempts.append(one.attempt)
                    words = (
                        f"{one}: its results were read with another answer model; run collect_results again, at no cost"
                    )
                    _check_fields(files[-1], fields, words)
        elif any(rows["custom_id"].null_count < len(rows) for rows in read_pieces(source, ["custom_id"])):
            raise ConfigError(f"{shard}: its results are not collected yet; run collect_results for this shard first")
        yield source, ResultParts(files, fields, stops, attempts=attempts, refused=refused, final=final)


def _check_fields(results: pq.ParquetFile, fields: Sequence[pa.Field], words: str) -> None:
    if not {field.name for field in fields} <= set(results.schema_arrow.names):
        raise ConfigError(words)
