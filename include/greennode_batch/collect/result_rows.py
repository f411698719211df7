"""Result rows: the columns of results.parquet, and their values for one request or for many at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.answers.outcome import outcome_of
from greennode_batch.answers.reasoning import may_hold_reasoning, split_reasoning
from greennode_batch.api.results.result_lines import ResultLine, plain_answer
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.state.live_answers import LIVE_BATCH_ID
from greennode_batch.state.row_status import RowStatus

_YEAR_10000 = 253_402_300_800
_MAX_TOKENS = 1 << 63

PAID_TWICE = "overdue, and asked again"
"""How a batch counts that was given up, and whose requests the job sends again all the same."""
RESULT_FIELDS = (
    pa.field("custom_id", pa.string()),
    pa.field("status", pa.string()),
    pa.field("error", pa.string()),
    pa.field("finish_reason", pa.string()),
    pa.field("reasoning", pa.string()),
    pa.field("prompt_tokens", pa.int64()),
    pa.field("completion_tokens", pa.int64()),
    # These are part of the prompt's and the completion's tokens.
    pa.field("cached_tokens", pa.int64()),
    pa.field("reasoning_tokens", pa.int64()),
    pa.field("completed_at", pa.timestamp("us", tz="UTC")),
    pa.field("batch_id", pa.string()),
    # Whether another attempt may improve the outcome.
    pa.field("ask_again", pa.bool_()),
    # The model's text, if it is not an answer, for `explain_errors`. No target has it.
    pa.field("raw_answer", pa.string()),
)

Row = tuple[Any, ...]
"""The values of one request, in the order of RESULT_FIELDS and then of the answer's fields."""


def row_of_line(line: ResultLine, reader: AnswerReader, batch: Batch) -> Row:
    """The outcome of one request, by its line."""
    outcome = outcome_of(line, reader)
    return (
        line.custom_id,
        outcome.status.value,
        outcome.error,
        line.finish_reason,
        outcome.reasoning,
        _tokens(line.prompt_tokens),
        _tokens(line.completion_tokens),
        _tokens(line.cached_tokens),
        _tokens(line.reasoning_tokens),
        _timestamp(line.created or batch.completed_at),
        batch.id,
        outcome.is_retryable,
        outcome.raw_answer,
        *(outcome.values or (None,) * len(reader.fields)),
    )


def rows_without_line(custom_ids: Iterable[str], reader: AnswerReader, batch: Batch) -> list[Row]:
    """The outcome of requests that no line names."""
    status, error, ask_again = _without_line(batch)
    nothing = (None,) * len(reader.fields)
    end = _timestamp(batch.completed_at)
    return [
        (custom_id, status, error, None, None, None, None, None, None, end, batch.id, ask_again, None, *nothing)
        for custom_id in custom_ids
    ]


def table_of_rows(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """The rows, column by column."""
    if not rows:
        return schema.empty_table()
    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


class PlainRows(NamedTuple):
    """Rows of answers that ended normally and can be used, column by column. indexes: of their lines."""

    indexes: Sequence[int]
    custom_ids: Sequence[str]
    reasoning: Sequence[str | None]
    prompt_tokens: Sequence[int]
    completion_tokens: Sequence[int]
    cached_tokens: Sequence[int]
    reasoning_tokens: Sequence[int]
    created: Sequence[int | None]
    values: Sequence[Sequence[Any]]

    def table(self, batch: Batch, schema: pa.Schema) -> pa.Table:
        """The same as `row_of_line` of each."""
        end = _timestamp(batch.completed_at)
        columns = {
            "custom_id": self.custom_ids,
            "reasoning": self.reasoning,
            "prompt_tokens": _token_counts(self.prompt_tokens),
            "completion_tokens": _token_counts(self.completion_tokens),
            "completed_at": [seconds * 1_000_000 if seconds else end for seconds in self.created],
            **dict(zip(schema.names[len(RESULT_FIELDS) :], self.values, strict=True)),
        }
        constants = {
            "status": RowStatus.SUCCEEDED.value, "error": None, "finish_reason": "stop", "batch_id": batch.id,
            "ask_again": False, "raw_answer": None, "cached_tokens": 0, "reasoning_tokens": 0,
        }  # fmt: skip
        for name, counts in (("cached_tokens", self.cached_tokens), ("reasoning_tokens", self.reasoning_tokens)):
            if any(counts):  # most servers and models have none
                columns[name] = _token_counts(counts)
        arrays = [
            pa.array(columns[field.name], field.type)
            if field.name in columns
            else pa.repeat(pa.scalar(constants[field.name], field.type), len(self.indexes))
            for field in schema
        ]
        return pa.table(arrays, schema=schema)


def plain_rows(lines: Sequence[bytes], reader: AnswerReader) -> PlainRows:
    """Of these lines, the by far commonest kind, in half the time that each would take singly."""
    answers = {index: answer for index, line in enumerate(lines) if (answer := plain_answer(line)) is not None}
    if not answers:
        return PlainRows((), (), (), (), (), (), (), (), [()] * len(reader.fields))
    columns: list[Sequence[Any]] = [tuple(answers), *zip(*answers.values(), strict=True)]
    indexes, custom_ids, texts, reasoning, *rest = columns
    if may_hold_reasoning("\n".join(texts)):
        reasoned = list(map(split_reasoning, texts))
        reasoning = [given or split.reasoning for given, split in zip(reasoning, reasoned, strict=True)]
        # Reasoning alone is not an answer, nor is an empty text.
        texts = [split.answer or "" for split in reasoned]
    usable, values = reader.read_columns(texts)
    columns = [indexes, custom_ids, reasoning, *rest]
    if len(usable) < len(answers):
        columns = [[column[index] for index in usable] for column in columns]
    return PlainRows._make((*columns, values))


def _without_line(batch: Batch) -> tuple[str, str, bool]:
    """Status, error and whether to try again, for a request that is in neither file."""
    if batch.raw_status in {"overdue", PAID_TWICE}:
        words = "the batch was cancelled at its deadline and has not ended since; it may still be billed"
        return RowStatus.EXPIRED.value, words, batch.raw_status == PAID_TWICE
    if batch.raw_status == "forgotten":
        return RowStatus.MISSING.value, "the server has forgotten the batch", True
    if batch.status is BatchStatus.EXPIRED:
        what = "the run's deadline came" if batch.id == LIVE_BATCH_ID else "the batch expired"
        return RowStatus.EXPIRED.value, f"{what} before this request was answered", True
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
    """Microseconds, as Arrow stores them; None for a time that no database can hold."""
    if epoch_seconds is None or not 0 <= epoch_seconds < _YEAR_10000:
        return None
    return int(epoch_seconds * 1_000_000)


def _tokens(count: int) -> int | None:
    return count if 0 <= count < _MAX_TOKENS else None


def _token_counts(counts: Sequence[int]) -> Sequence[int | None]:
    return counts if min(counts) >= 0 and max(counts) < _MAX_TOKENS else list(map(_tokens, counts))
