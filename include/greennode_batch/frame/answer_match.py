"""Answer match: the answers of rows, by their keys, one for each model and sample, in the rows' order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from greennode_batch.source.rows import Key, RowBatch

OUTCOME_COLUMNS = ("status", "error", "prompt_tokens", "completion_tokens")
"""What a frame gets behind an answer: what became of its request."""


def row_keys(batches: Iterable[RowBatch], key: Sequence[str]) -> list[Key]:
    """The keys of rows, with the values that staging and targets have of them."""
    return [row for batch in batches for row in zip(*(batch.array(name).to_pylist() for name in key), strict=True)]


def matched_answers(
    keys: Sequence[Key], answers: pa.Table, target_key: Sequence[str], more: Sequence[tuple[Any, ...]]
) -> pa.Table:
    """The answers of each row, as many as `more` has; NULL where the target has none.

    more: what a target's key has behind the row's own: () where each row has one answer, else models and samples.
    """
    found = zip(*(answers[name].to_pylist() for name in target_key), strict=True)
    index_of = {key: index for index, key in enumerate(found)}
    indexes = [index_of.get((*key, *rest)) for key in keys for rest in more]
    return answers.take(pa.array(indexes, pa.int64()))
