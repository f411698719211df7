"""Request index: in which shard a request lies, if it came before. Exact, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from greennode_batch.plan.bloom_filter import BloomFilter, Hashes

RECENT_REQUESTS = 50_000
"""So many of the latest requests, and up to twice as many, are remembered with their shards."""
MAYBE = -1
"""In the place of a shard's."""


class RequestIndex:
    """custom_id -> place of its shard, for the latest requests. Of older ones a filter tells whether one may be there.

    Ask `indexes_of` once a batch, with all that comes before `add`.
    """

    def __init__(
        self,
        submitted: Callable[[Sequence[str]], Mapping[str, int]],
        *,
        recent: int = RECENT_REQUESTS,
        older: BloomFilter | None = None,
    ) -> None:
        """submitted: gives the shards of earlier requests. older: an empty filter, not of the usual size."""
        self._submitted = submitted
        self._recent = recent
        # Most tables have no older ones, and a filter's 16 MB take longer to get than a small build.
        self._older = older
        self._newest: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def indexes_of(self, custom_ids: Sequence[str]) -> dict[int, int]:
        """Those of the requests, by number, that came before, with their shards; `MAYBE` if that may be long ago."""
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
        """Requests that were put into a shard."""
        self._newest.update(dict.fromkeys(custom_ids, index))

    def _let_go(self) -> None:
        if len(self._newest) < self._recent:
            return
        if self._before:
            self._older = self._older or BloomFilter()
            self._older.add(_hashes(list(self._before)))
        self._before, self._newest = self._newest, {}


def _hashes(custom_ids: Sequence[str]) -> Hashes:
    """Half of the bits that an id has: it is a hash itself."""
    digests = np.frombuffer(bytes.fromhex("".join(custom_ids)), np.uint64)
    return digests[::2]
