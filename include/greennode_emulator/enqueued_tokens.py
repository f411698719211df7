"""Enqueued tokens: a limit on the prompt tokens of all batches that have not ended, for the fault `enqueued_limit`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from greennode_emulator.faults.batch_faults import EnqueuedLimit
from greennode_emulator.records import BatchRecord
from greennode_emulator.store import Store
from greennode_emulator.tokens import count_prompt_tokens

_PAGE = 100


class _Body(msgspec.Struct):
    messages: list[dict[str, object]]


class _Line(msgspec.Struct):
    body: _Body


_decode = msgspec.json.Decoder(_Line).decode


def tokens_of(path: Path) -> int:
    """The prompt tokens of an input file; a line that is invalid has none. Holds one line."""
    total = 0
    with path.open("rb") as file:
        for line in file:
            with contextlib.suppress(msgspec.DecodeError):
                total += count_prompt_tokens(_decode(line).body.messages)
    return total


def enqueued_in(store: Store) -> int:
    """The tokens of all batches that have not ended, of those that were counted."""
    return sum(batch.enqueued_tokens for batch in _all(store) if not batch.is_over)


def refusal_words(limit: EnqueuedLimit, model: str | None) -> str:
    """What the server says about a batch that is over the limit, with its number or without."""
    named = f" for {model or 'this model'} in organization org-1. Limit: {limit.tokens:,} enqueued tokens"
    more = "Please try again once some in_progress batches have been completed."
    return f"Enqueued token limit reached{named if limit.named else ''}. {more}"


def _all(store: Store) -> Iterator[BatchRecord]:
    after, more = None, True
    while more:
        batches, more = store.batches.newest(limit=_PAGE, after=after)
        yield from batches
        after = batches[-1].id if batches else None
