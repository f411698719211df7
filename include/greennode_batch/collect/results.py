"""Results: a batch's files become one row per request, with a status that says what became of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.finish_reason import AnswerEnd, answer_end
from greennode_batch.api.results.normal_shape import in_normal_shape
from greennode_batch.api.results.result_lines import Anomaly, ResultLine, line_batches, parse_line
from greennode_batch.api.wire import Batch
from greennode_batch.collect.anomalies import AnomalyLog
from greennode_batch.collect.result_rows import (
    RESULT_FIELDS,
    Row,
    plain_rows,
    row_of_line,
    rows_without_line,
    table_of_rows,
)
from greennode_batch.staging.parquet import table_writer
from greennode_batch.state.row_status import RowStatus

__all__ = ["RESULT_FIELDS", "LinesRead", "write_results"]

log = logging.getLogger(__name__)

_ROW_GROUP_ROWS = 5_000
# Of each kind of lines that settle nothing. All of them are kept in staging.
_LOGGED_LINES = 5
# The rank of a line for a custom_id: 0 for a failure, 1 for an answer that cannot be used.
_USABLE = 2


class LinesRead(NamedTuple):
    """How much could be read from result files.

    lines: all of them. settled: requests that a line settles, by an answer or by an error in the server's words.
    errors: error lines of requests. wordless: those of them without any text from the server.
    """

    lines: int
    settled: int
    errors: int
    wordless: int


def write_results(
    batch: Batch,
    files: Iterable[Path],
    expected: Iterable[str],
    reader: AnswerReader,
    destination: Path,
    *,
    anomalies: AnomalyLog,
    paths: Mapping[str, str] | None = None,
) -> LinesRead:
    """Write results.parquet: one row per expected custom_id, whatever the files hold. Returns how much could be read.

    A line without a usable id, an id that was not sent and a second line for an id are anomalies. For one id, the last
    usable answer wins over any other line, and any other answer over a failure. An unknown `finish_reason` is logged
    once, with its count. paths: a profile's `result_fields`. Holds one row group and the ids.
    """
    schema = pa.schema([*RESULT_FIELDS, *reader.fields], metadata=reader.mark)
    with table_writer(destination, schema) as writer:
        settling = _Settling(batch, reader, set(expected), schema, anomalies)
        for file in files:
            with file.open("rb") as lines:
                for raws in line_batches(lines):
                    settling.take(file, [in_normal_shape(raw, paths) for raw in raws] if paths else raws)
                    if len(settling) >= _ROW_GROUP_ROWS:
                        writer.write_table(settling.table())
        settling.take_unanswered()
        while len(settling):
            writer.write_table(settling.table())
    for word, count in settling.unknown_ends.items():
        log.warning(
            "Batch %s: %d answers end with finish_reason %r, a word that is not known; they are read like answers that "
            'ended with "stop"',
            batch.id,
            count,
            word,
        )
    if settling.better:
        _replace_rows(destination, settling.better, schema)
    return settling.read


class _Settling:
    """Turns lines into result rows, one for each request, whatever the order and number of its lines."""

    def __init__(
        self, batch: Batch, reader: AnswerReader, requested: set[str], schema: pa.Schema, anomalies: AnomalyLog
    ) -> None:
        self.better: dict[str, Row] = {}
        self.unknown_ends: Counter[str | None] = Counter()
        self._batch = batch
        self._reader = reader
        self._schema = schema
        self._anomalies = anomalies
        self._requested = requested
        self._open = set(requested)  # requests without a line so far
        self._ranks: dict[str, int] = {}  # of those whose lines hold no usable answer so far
        self._plain: list[pa.Table] = []
        self._rows: list[Row] = []
        self._lines = self._errors = self._wordless = 0
        self._wordless_ids: set[str] = set()  # those whose lines so far hold no text from the server

    def __len__(self) -> int:
        return sum(map(len, self._plain)) + len(self._rows)

    @property
    def read(self) -> LinesRead:
        """How much could be read from the lines so far."""
        settled = len(self._requested) - len(self._open) - len(self._wordless_ids)
        return LinesRead(self._lines, settled, self._errors, self._wordless)

    def take(self, file: Path, raws: Sequence[bytes]) -> None:
        """Take lines of a file: the plain ones together, then the others; in order if two may belong to one request."""
        self._lines += len(raws)
        plain = plain_rows(raws, self._reader)
        custom_ids = set(plain.custom_ids)
        indexes = sorted(set(range(len(raws))).difference(plain.indexes))
        others = [(raws[index], parse_line(raws[index])) for index in indexes]
        if (
            len(custom_ids) < len(plain.custom_ids)
            or not custom_ids <= self._open
            or any(isinstance(line, ResultLine) and line.custom_id in custom_ids for _, line in others)
        ):
            others = [(raw, parse_line(raw)) for raw in raws]
        elif custom_ids:
            self._open -= custom_ids
            self._plain.append(plain.table(self._batch, self._schema))
        for raw, line in others:
            self._take_one(file, raw, line)

    def take_unanswered(self) -> None:
        """The requests without a line."""
        self._rows += rows_without_line(self._open, self._reader, self._batch)

    def table(self) -> pa.Table:
        """The rows so far, up to some thousand, which are then released."""
        plain, self._plain = self._plain, []
        rows, self._rows = self._rows[:_ROW_GROUP_ROWS], self._rows[_ROW_GROUP_ROWS:]
        return pa.concat_tables([*plain, table_of_rows(rows, self._schema)])

    def _take_one(self, file: Path, raw: bytes, line: ResultLine | Anomaly) -> None:
        if isinstance(line, Anomaly):
            self._anomalies.note(line.kind, file, raw)
            if self._anomalies.counts[line.kind] <= _LOGGED_LINES:
                log.warning("%s: %s: %s", file.name, line.kind, line.text[:200])
            return
        custom_id = line.custom_id
        if custom_id not in self._requested:
            self._anomalies.note("unknown custom_id", file, raw, custom_id)
            return
        if answer_end(line.finish_reason) is AnswerEnd.UNKNOWN:
            self.unknown_ends[line.finish_reason] += 1
        row = row_of_line(line, self._reader, self._batch)
        rank = 0 if line.error is not None else _USABLE if row[1] == RowStatus.SUCCEEDED else 1
        self._errors += line.error is not None
        self._wordless += line.is_wordless
        if not line.is_wordless:
            self._wordless_ids.discard(custom_id)
        elif custom_id in self._open:
            self._wordless_ids.add(custom_id)
        if custom_id in self._open:
            self._open.remove(custom_id)
            self._ranks[custom_id] = rank
            self._rows.append(row)
            return
        self._anomalies.note("second line for a custom_id", file, raw, custom_id)
        if rank == _USABLE or rank > self._ranks.get(custom_id, _USABLE):
            self.better[custom_id] = row
            self._ranks[custom_id] = rank


def _replace_rows(path: Path, better: dict[str, Row], schema: pa.Schema) -> None:
    """Write the file again with an answer in place of the failure that came before it."""
    rewritten = path.with_name(f"{path.name}.rewritten")
    with pq.ParquetFile(path) as file, table_writer(rewritten, schema) as writer:
        for batch in file.iter_batches():
            ids = batch.column("custom_id").to_pylist()
            keep = pa.array([custom_id not in better for custom_id in ids])
            writer.write_table(pa.Table.from_batches([batch.filter(keep)], schema=schema))
        writer.write_table(table_of_rows(list(better.values()), schema))
    rewritten.replace(path)
