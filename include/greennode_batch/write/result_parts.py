"""ResultParts: the latest result of each request of a shard, a few megabytes at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greennode_batch.answers.answer_reader import model_hash_of
from greennode_batch.source.formats.batch_limits import together
from greennode_batch.state.attempts import FIRST_ATTEMPT
from greennode_batch.state.row_status import RowStatus
from greennode_batch.write.final_outcomes import FinalOutcomes
from greennode_batch.write.refused_answers import NO_REFUSED, without_refused

FINAL = pa.field("greennode_final", pa.string())
"""A derived column, which no results.parquet has."""

_AGAIN = "ask_again"
_SAID = ("status", "error")
# Of the encoded size in the files, where a repeated text is stored once.
_HELD_BYTES = 32 << 20


class ResultParts:
    """An iterable over a shard's results, with one row per request. It can be iterated again. Holds one part.

    files: results.parquet of each attempt, in order; a later result replaces an earlier one. fields: the columns to
    read, including custom_id. stops: for each file, why the budget stopped its retryable requests from being sent
    again, or None; these requests become `unsent`. attempts: the number of each file's attempt, which several have if
    the shard was split; by default each file is the next attempt's. refused: answers that count as invalid, as
    `read_refused` returns them. final: gives the values of the column FINAL, if it is wanted.
    """

    def __init__(
        self,
        files: Sequence[pq.ParquetFile],
        fields: Sequence[pa.Field],
        stops: Sequence[str | None] = (),
        *,
        attempts: Sequence[int] = (),
        refused: pa.Table = NO_REFUSED,
        final: FinalOutcomes | None = None,
    ) -> None:
        self.refused = refused
        self._files = files
        self._schema = pa.schema([*fields, *([FINAL] if final else [])])
        self._stops = stops or [None] * len(files)
        self._attempts = attempts or range(FIRST_ATTEMPT, FIRST_ATTEMPT + len(files))
        self._final = final
        self._read = list(dict.fromkeys((*(field.name for field in fields), *(_SAID if final else ()))))

    @cached_property
    def requested(self) -> pa.ChunkedArray:
        """The custom_ids in the first attempt's results. Later attempts may also have those of other shards."""
        first = [file for file, attempt in zip(self._files, self._attempts, strict=True) if attempt == FIRST_ATTEMPT]
        ids = [file.read(columns=["custom_id"], use_threads=False)["custom_id"] for file in first]
        return pa.chunked_array([chunk for some in ids for chunk in some.chunks], pa.string())

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield at least one part, which may be empty."""
        if not self._files:
            yield self._schema.empty_table()
        said: list[pa.ChunkedArray] = []
        files = list(zip(self._files, self._stops, self._attempts, strict=True))
        for file, stop, attempt in reversed(files):
            before = pa.chunked_array([chunk for ids in said for chunk in ids.chunks], pa.string())
            for groups in _together(file.metadata, self._read):
                columns = self._read if stop is None else [*self._read, _AGAIN, *_SAID]
                rows = file.read_row_groups(groups, columns=list(dict.fromkeys(columns)), use_threads=False)
                rows = without_refused(rows if stop is None else _unsent(rows, stop), self.refused)
                if self._final is not None:
                    made_by = model_hash_of(file.schema_arrow)
                    rows = rows.append_column(FINAL, self._final.of_results(rows, attempt=attempt, model_hash=made_by))
                rows = rows.select(self._schema.names).replace_schema_metadata(None)
                if attempt > FIRST_ATTEMPT:
                    rows = rows.filter(pc.is_in(rows["custom_id"], value_set=self.requested))
                    said.append(rows["custom_id"])
                if len(before):
                    rows = rows.filter(pc.invert(pc.is_in(rows["custom_id"], value_set=before)))
                yield rows
                del rows  # not to hold two parts while the next one is read


def _unsent(rows: pa.Table, stop: str) -> pa.Table:
    """Mark the retryable rows as `unsent`, with the reason why they were not sent again."""
    is_stopped = rows[_AGAIN]
    for name, said in zip(_SAID, (RowStatus.UNSENT.value, _told(rows, stop)), strict=True):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pc.if_else(is_stopped, said, rows[name]))
    return rows


def _told(rows: pa.Table, stop: str) -> pa.ChunkedArray:
    status, error = (rows[name] for name in _SAID)
    return pc.binary_join_element_wise(pa.scalar(stop), status, pc.coalesce(error, ""), ": ")


def _together(metadata: pq.FileMetaData, columns: Collection[str]) -> Iterator[list[int]]:
    """Yield lists of row groups of a file, each as large as may be held in these columns."""

    def sizes(number: int) -> tuple[int]:
        group = metadata.row_group(number)
        parts = map(group.column, range(group.num_columns))
        return (sum(part.total_uncompressed_size for part in parts if part.path_in_schema in columns),)

    yield from together(range(metadata.num_row_groups), sizes, _HELD_BYTES) if metadata.num_row_groups else [[]]
