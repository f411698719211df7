"""Results: a batch's files become one row per request, with a status that says what became of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from greennode_batch.api.lines import Anomaly, ResultLine, iter_lines, parse_line
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
    asked = set(expected)
    schema = pa.schema([*RESULT_FIELDS, *reader.fields], metadata=reader.mark)
    ranks: dict[str, int] = {}
    better: dict[str, tuple[Any, ...]] = {}

    def rows() -> Iterator[tuple[Any, ...]]:
        for file, raw, line in _lines(files, anomalies):
            if line.custom_id not in asked:
                anomalies.note("unknown custom_id", file, raw, line.custom_id)
                continue
            row = _row(line, reader, batch)
            rank = 0 if line.error is not None else _USABLE if row[1] == RowStatus.SUCCEEDED else 1
            if line.custom_id not in ranks:
                ranks[line.custom_id] = rank
                yield row
            else:
                anomalies.note("second line for a custom_id", file, raw, line.custom_id)
                if rank > ranks[line.custom_id] or rank == _USABLE:
                    better[line.custom_id] = row
                    ranks[line.custom_id] = rank
        status, error, ask_again = _without_line(batch)
        nothing = (None,) * len(reader.fields)
        completed_at = _timestamp(batch.completed_at)
        for custom_id in asked.difference(ranks):
            yield (custom_id, status, error, None, None, None, None, completed_at, batch.id, ask_again, *nothing)

    _write(rows(), schema, destination)
    if better:
        _replace_rows(destination, better, schema)


def _lines(files: Iterable[Path], anomalies: AnomalyLog) -> Iterator[tuple[Path, bytes, ResultLine]]:
    for path in files:
        with path.open("rb") as file:
            for raw in iter_lines(file):
                parsed = parse_line(raw)
                if isinstance(parsed, Anomaly):
                    anomalies.note(parsed.kind, path, raw)
                    log.warning("%s: %s: %s", path.name, parsed.kind, parsed.text[:200])
                else:
                    yield path, raw, parsed


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
