"""Request index: finds the shard of a request that came before. It misses none, and its memory does not grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from greennode_batch.plan.bloom_filter import BloomFilter, Hashes

RECENT_REQUESTS = 50_000
"""The index remembers the shards of this many latest requests, and of up to twice as many."""
MAYBE = -1
"""Given instead of a shard's index if an older shard may hold the request."""


class RequestIndex:
    """Maps a custom_id to the index of its shard, for the latest requests.

    For older requests, a filter tells whether one may exist. Call `indexes_of` once for each batch, with all of its
    ids, before `add`.
    """

    def __init__(
        self,
        submitted: Callable[[Sequence[str]], Mapping[str, int]],
        *,
        recent: int = RECENT_REQUESTS,
        older: BloomFilter | None = None,
    ) -> None:
        """Create an empty index.

        submitted: finds the shards of requests that were sent before.
        older: an empty filter, if it is not to have the default size.
        """
        self._submitted = submitted
        self._recent = recent
        # Most tables never need the filter, and allocating its 16 MB takes longer than a small build.
        self._older = older
        self._newest: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def indexes_of(self, custom_ids: Sequence[str]) -> dict[int, int]:
        """Map the positions of requests that came before to their shards; `MAYBE` if they may be older."""
        self._let_go()
        indexes: dict[int, int] = {}
        if self._older is not None:
            numbers = np.flatnonzero(self._older.may_hold(_hashes(custom_ids))).tolist()
            indexes.update(dict.fromkeys(numbers, MAYBE))
        for known in (self._submitted(custom_ids), self._before, self._newest):
            if known and not known.keys().isdisjoint(custom_ids):
                indexes.update({number: known[one] for number, one in enumerate(custom_ids) if one in known})
        return indexes

    def add(self, custom_ids: Sequence[str], index: int) -> None:
        """Record requests that were put into a shard."""
        self._newest.update(dict.fromkeys(custom_ids, index))

    def _let_go(self) -> None:
        if len(self._newest) < self._recent:
            return
        if self._before:
            self._older = self._older or BloomFilter()
            self._older.add(_hashes(list(self._before)))
        self._before, self._newest = self._newest, {}


def _hashes(custom_ids: Sequence[str]) -> Hashes:
    """Half of the bits of each id; an id is itself a hash."""
    digests = np.frombuffer(bytes.fromhex("".join(custom_ids)), np.uint64)
    return digests[::2]
