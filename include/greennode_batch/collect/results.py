"""Results: a batch's files become one row per request, with a status that says what became of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from greennode_batch.api.lines import Anomaly, PlainAnswer, ResultLine, line_batches, parse_line, plain_answer
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.collect.anomalies import AnomalyLog
from greennode_batch.collect.answers import AnswerReader
from greennode_batch.collect.verdicts import RowStatus, judge

log = logging.getLogger(__name__)

_ROW_GROUP_ROWS = 5_000
_YEAR_10000 = 253_402_300_800
_MAX_TOKENS = 1 << 63
# Of a line for a custom_id: 0 for a failure, 1 for an answer that cannot be used.
_USABLE = 2


RESULT_FIELDS = (
    pa.field("custom_id", pa.string()),
    pa.field("status", pa.string()),
    pa.field("error", pa.string()),
    pa.field("finish_reason", pa.string()),
    pa.field("reasoning", pa.string()),
    pa.field("prompt_tokens", pa.int64()),
    pa.field("completion_tokens", pa.int64()),
    pa.field("completed_at", pa.timestamp("us", tz="UTC")),
    pa.field("batch_id", pa.string()),
    # Whether another attempt may end better.
    pa.field("ask_again", pa.bool_()),
)


def write_results(
    batch: Batch,
    files: Iterable[Path],
    expected: Iterable[str],
    reader: AnswerReader,
    destination: Path,
    *,
    anomalies: AnomalyLog,
) -> None:
    """Write results.parquet: one row per expected custom_id, whatever the files hold.

    A line that cannot be told apart, an id that was not asked and a second line for an id are anomalies; for one id
    the last answer that can be used wins over any other, and any other over a failure. Holds one row group and the
    ids.
    """
    schema = pa.schema([*RESULT_FIELDS, *reader.fields], metadata=reader.mark)
    with pq.ParquetWriter(destination, schema, compression="zstd") as writer:
        settling = _Settling(batch, reader, set(expected), schema, anomalies)
        for file in files:
            with file.open("rb") as lines:
                for raws in line_batches(lines):
                    settling.take(file, raws)
                    if len(settling) >= _ROW_GROUP_ROWS:
                        writer.write_table(settling.table())
        settling.take_unanswered()
        while len(settling):
            writer.write_table(settling.table())
    if settling.better:
        _replace_rows(destination, settling.better, schema)


class _Settling:
    """Turns lines into rows of results, one for each request, whatever the order and number of its lines."""

    def __init__(
        self, batch: Batch, reader: AnswerReader, asked: set[str], schema: pa.Schema, anomalies: AnomalyLog
    ) -> None:
        self.better: dict[str, tuple[Any, ...]] = {}
        self._batch = batch
        self._reader = reader
        self._schema = schema
        self._anomalies = anomalies
        self._open = asked  # requests that no line was seen of
        self._ranks: dict[str, int] = {}
        self._plain: list[tuple[PlainAnswer, tuple[Any, ...]]] = []
        self._rows: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return len(self._plain) + len(self._rows)

    def take(self, file: Path, raws: Iterable[bytes]) -> None:
        """Lines of a file."""
        still_open, ranks, read = self._open, self._ranks, self._reader.read
        for raw in raws:
            answer = plain_answer(raw)
            if answer is not None and answer[0] in still_open and "<" not in answer[1]:
                values = read(answer[1])
                if not isinstance(values, str):
                    still_open.remove(answer[0])
                    ranks[answer[0]] = _USABLE
                    self._plain.append((answer, values))
                    continue
            self._take_other(file, raw)

    def take_unanswered(self) -> None:
        """The requests that no line was seen of."""
        status, error, ask_again = _without_line(self._batch)
        nothing = (None,) * len(self._reader.fields)
        end = _timestamp(self._batch.completed_at)
        self._rows += [
            (custom_id, status, error, None, None, None, None, end, self._batch.id, ask_again, *nothing)
            for custom_id in self._open
        ]

    def table(self) -> pa.Table:
        """The rows so far, up to some thousand, which are held no more."""
        plain, self._plain = self._plain[:_ROW_GROUP_ROWS], self._plain[_ROW_GROUP_ROWS:]
        rows, self._rows = self._rows[:_ROW_GROUP_ROWS], self._rows[_ROW_GROUP_ROWS:]
        return pa.concat_tables([_plain_table(plain, self._batch, self._schema), _table(rows, self._schema)])

    def _take_other(self, file: Path, raw: bytes) -> None:
        line = parse_line(raw)
        if isinstance(line, Anomaly):
            self._anomalies.note(line.kind, file, raw)
            log.warning("%s: %s: %s", file.name, line.kind, line.text[:200])
            return
        custom_id = line.custom_id
        if custom_id not in self._open and custom_id not in self._ranks:
            self._anomalies.note("unknown custom_id", file, raw, custom_id)
            return
        row = _row(line, self._reader, self._batch)
        rank = 0 if line.error is not None else _USABLE if row[1] == RowStatus.SUCCEEDED else 1
        if custom_id in self._open:
            self._open.remove(custom_id)
            self._ranks[custom_id] = rank
            self._rows.append(row)
            return
        self._anomalies.note("second line for a custom_id", file, raw, custom_id)
        if rank > self._ranks[custom_id] or rank == _USABLE:
            self.better[custom_id] = row
            self._ranks[custom_id] = rank


def _row(line: ResultLine, reader: AnswerReader, batch: Batch) -> tuple[Any, ...]:
    verdict = judge(line, reader)
    return (
        line.custom_id,
        verdict.status.value,
        verdict.error,
        line.finish_reason,
        verdict.reasoning,
        _tokens(line.prompt_tokens),
        _tokens(line.completion_tokens),
        _timestamp(line.created or batch.completed_at),
        batch.id,
        verdict.ask_again,
        *(verdict.values or (None,) * len(reader.fields)),
    )


def _without_line(batch: Batch) -> tuple[str, str, bool]:
    """Status, error and whether to ask again, for a request that is in neither file."""
    if batch.raw_status == "overdue":
        words = "the batch was cancelled at its deadline and has not ended since; it may still be billed"
        return RowStatus.EXPIRED.value, words, False
    if batch.raw_status == "forgotten":
        return RowStatus.MISSING.value, "the server has forgotten the batch", True
    if batch.status is BatchStatus.EXPIRED:
        return RowStatus.EXPIRED.value, "the batch expired before this request was answered", True
    if batch.status is BatchStatus.CANCELLED:
        return RowStatus.CANCELLED.value, "the batch was cancelled before this request was answered", True
    if batch.errors:
        return RowStatus.FAILED.value, f"the batch {batch.raw_status}: {'; '.join(batch.errors[:3])}", True
    return (
        RowStatus.MISSING.value,
        f"the batch ended as {batch.raw_status}, and neither file has this request",
        True,
    )


def _timestamp(epoch_seconds: float | None) -> int | None:
    """Microseconds, as Arrow keeps them; None for what is no time that a database holds."""
    if epoch_seconds is None or not 0 <= epoch_seconds < _YEAR_10000:
        return None
    return int(epoch_seconds * 1_000_000)


def _tokens(count: int) -> int | None:
    return count if 0 <= count < _MAX_TOKENS else None


def _plain_table(answers: list[tuple[PlainAnswer, tuple[Any, ...]]], batch: Batch, schema: pa.Schema) -> pa.Table:
    """Rows of answers that ended by themselves and can be used."""
    if not answers:
        return schema.empty_table()
    count = len(answers)
    plain, values = zip(*answers, strict=True)
    custom_ids, _, prompt_tokens, completion_tokens, created = zip(*plain, strict=True)
    same = {
        "status": RowStatus.SUCCEEDED.value, "error": None, "finish_reason": "stop", "reasoning": None,
        "batch_id": batch.id, "ask_again": False,
    }  # fmt: skip
    each = {
        "custom_id": custom_ids,
        "prompt_tokens": list(map(_tokens, prompt_tokens)),
        "completion_tokens": list(map(_tokens, completion_tokens)),
        "completed_at": [_timestamp(seconds or batch.completed_at) for seconds in created],
        **dict(zip(schema.names[len(RESULT_FIELDS) :], zip(*values, strict=True), strict=True)),
    }
    arrays = [
        pa.array(each[field.name], field.type)
        if field.name in each
        else pa.repeat(pa.scalar(same[field.name], field.type), count)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    if not rows:
        return schema.empty_table()
    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def _replace_rows(path: Path, better: dict[str, tuple[Any, ...]], schema: pa.Schema) -> None:
    """Write the file again with an answer in place of the failure that came before it."""
    rewritten = path.with_name(f"{path.name}.rewritten")
    with pq.ParquetFile(path) as file, pq.ParquetWriter(rewritten, schema, compression="zstd") as writer:
        for batch in file.iter_batches():
            ids = batch.column("custom_id").to_pylist()
            keep = pa.array([custom_id not in better for custom_id in ids])
            writer.write_table(pa.Table.from_batches([batch.filter(keep)], schema=schema))
        writer.write_table(_table(list(better.values()), schema))
    rewritten.replace(path)
