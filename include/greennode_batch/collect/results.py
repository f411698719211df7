"""Results: a batch's files become one row per request, with a status that says what became of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from greennode_batch.api.lines import Anomaly, ResultLine, iter_lines, parse_line
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.collect.answers import AnswerReader, split_reasoning

log = logging.getLogger(__name__)

_ROW_GROUP_ROWS = 5_000
_YEAR_10000 = 253_402_300_800
_MAX_TOKENS = 1 << 63


class RowStatus(StrEnum):
    """What became of a row. Only `succeeded` is an answer that can be used."""

    SUCCEEDED = "succeeded"
    INVALID_OUTPUT = "invalid_output"  # does not match the answer model, or is empty
    TRUNCATED = "truncated"  # cut at max_tokens
    REFUSED = "refused"  # content filter or the model's own refusal
    FAILED = "failed"  # the API's error, in `error`
    EXPIRED = "expired"  # the batch's window closed first
    CANCELLED = "cancelled"
    MISSING = "missing"  # in neither file of a finished batch
    UNSENT = "unsent"  # never asked: too long, an empty prompt


RESULT_FIELDS = (
    pa.field("custom_id", pa.string()),
    pa.field("status", pa.string()),
    pa.field("error", pa.string()),
    pa.field("finish_reason", pa.string()),
    pa.field("reasoning", pa.string()),
    pa.field("prompt_tokens", pa.int64()),
    pa.field("completion_tokens", pa.int64()),
    pa.field("completed_at", pa.timestamp("us", tz="UTC")),
)


def write_results(
    batch: Batch,
    files: Iterable[Path],
    expected: Iterable[str],
    reader: AnswerReader,
    destination: Path,
) -> Counter[str]:
    """Write results.parquet: one row per expected custom_id, whatever the files hold. Returns the anomalies.

    A line that cannot be told apart, an id that was not asked and a second line for an id are anomalies,
    counted by kind; for one id an answer that can be used wins over any other, and any other over a failure.
    Holds one row group and the ids.
    """
    asked = set(expected)
    anomalies: Counter[str] = Counter()
    schema = pa.schema([*RESULT_FIELDS, *reader.fields], metadata=reader.mark)
    ranks: dict[str, int] = {}
    better: dict[str, tuple[Any, ...]] = {}

    def rows() -> Iterator[tuple[Any, ...]]:
        for line in _lines(files, anomalies):
            if line.custom_id not in asked:
                anomalies["unknown custom_id"] += 1
                continue
            row = _row(line, reader, batch)
            rank = 0 if line.error is not None else 2 if row[1] == RowStatus.SUCCEEDED else 1
            if line.custom_id not in ranks:
                ranks[line.custom_id] = rank
                yield row
            else:
                anomalies["second line for a custom_id"] += 1
                if rank > ranks[line.custom_id]:
                    better[line.custom_id] = row
                    ranks[line.custom_id] = rank
        status, error = _without_line(batch)
        nothing = (None,) * len(reader.fields)
        completed_at = _timestamp(batch.completed_at)
        for custom_id in asked.difference(ranks):
            yield (custom_id, status, error, None, None, None, None, completed_at, *nothing)

    _write(rows(), schema, destination)
    if better:
        _replace_rows(destination, better, schema)
    return anomalies


def _lines(files: Iterable[Path], anomalies: Counter[str]) -> Iterator[ResultLine]:
    for path in files:
        with path.open("rb") as file:
            for raw in iter_lines(file):
                parsed = parse_line(raw)
                if isinstance(parsed, Anomaly):
                    anomalies[parsed.kind] += 1
                    log.warning("%s: %s: %s", path.name, parsed.kind, parsed.text[:200])
                else:
                    yield parsed


def _row(line: ResultLine, reader: AnswerReader, batch: Batch) -> tuple[Any, ...]:
    judged = judge(line, reader)
    return (
        line.custom_id,
        judged.status.value,
        judged.error,
        line.finish_reason,
        judged.reasoning,
        _tokens(line.prompt_tokens),
        _tokens(line.completion_tokens),
        _timestamp(line.created or batch.completed_at),
        *(judged.values or (None,) * len(reader.fields)),
    )


class Judged(NamedTuple):
    """What one line amounts to. `values` are the answer's columns, where there is an answer."""

    status: RowStatus
    error: str | None
    reasoning: str | None
    values: tuple[Any, ...] | None


def judge(line: ResultLine, reader: AnswerReader) -> Judged:
    """What became of one request."""
    if line.error is not None:
        return _failure(line)
    if line.refusal or line.finish_reason == "content_filter":
        words = line.refusal or "the content filter stopped the answer"
        return Judged(RowStatus.REFUSED, words, line.reasoning, None)
    thought = split_reasoning(line.content or "")
    reasoning = line.reasoning or thought.reasoning
    if thought.answer is None:
        return Judged(*_only_thinking(line), reasoning, None)
    values = reader.read(thought.answer)
    usable = None if isinstance(values, str) else values
    if line.finish_reason == "length":
        return Judged(RowStatus.TRUNCATED, "cut off at max_tokens", reasoning, usable)
    if isinstance(values, str):
        return Judged(RowStatus.INVALID_OUTPUT, values, reasoning, None)
    return Judged(RowStatus.SUCCEEDED, None, reasoning, values)


def _only_thinking(line: ResultLine) -> tuple[RowStatus, str]:
    if line.finish_reason == "stop":
        return RowStatus.INVALID_OUTPUT, "the model ended in the middle of its thinking"
    return RowStatus.TRUNCATED, "cut off while the model was thinking; raise max_tokens"


def _failure(line: ResultLine) -> Judged:
    code = (line.code or "").lower()
    if "expired" in code:
        status = RowStatus.EXPIRED
    elif "cancel" in code:
        status = RowStatus.CANCELLED
    else:
        status = RowStatus.FAILED
    parts = [str(line.status_code) if line.status_code else "", line.code or "", line.error or ""]
    return Judged(status, " ".join(filter(None, parts)) or "an empty reply", line.reasoning, None)


def _without_line(batch: Batch) -> tuple[str, str]:
    """Status and error of a request that is in neither file."""
    if batch.status is BatchStatus.EXPIRED:
        return RowStatus.EXPIRED.value, "the batch expired before this request was answered"
    if batch.status is BatchStatus.CANCELLED:
        return RowStatus.CANCELLED.value, "the batch was cancelled before this request was answered"
    if batch.errors:
        return RowStatus.FAILED.value, f"the batch {batch.raw_status}: {'; '.join(batch.errors[:3])}"
    return (
        RowStatus.MISSING.value,
        f"the batch ended as {batch.raw_status}, and neither file has this request",
    )


def _timestamp(epoch_seconds: float | None) -> int | None:
    """Microseconds, as Arrow keeps them; None for what is no time that a database holds."""
    if epoch_seconds is None or not 0 <= epoch_seconds < _YEAR_10000:
        return None
    return int(epoch_seconds * 1_000_000)


def _tokens(count: int) -> int | None:
    return count if 0 <= count < _MAX_TOKENS else None


def _write(rows: Iterator[tuple[Any, ...]], schema: pa.Schema, destination: Path) -> None:
    with pq.ParquetWriter(destination, schema, compression="zstd") as writer:
        group: list[tuple[Any, ...]] = []
        for row in rows:
            group.append(row)
            if len(group) >= _ROW_GROUP_ROWS:
                writer.write_table(_table(group, schema))
                group = []
        writer.write_table(_table(group, schema))


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
