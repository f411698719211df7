"""Request index: in which shard a request lies, if it came before. Exact, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from greennode_batch.plan.bloom_filter import Hashes, HashFilter

RECENT_REQUESTS = 50_000
"""So many of the latest requests, and up to twice as many, are remembered with their shards."""
MAYBE = -1
"""In the place of a shard's."""


class RequestIndex:
    """custom_id -> place of its shard, for the latest requests. Of older ones a filter tells whether one may be there.

    Ask `places_of` once a batch, with all that comes before `add`.
    """

    def __init__(
        self,
        kept: Callable[[Sequence[str]], Mapping[str, int]],
        *,
        recent: int = RECENT_REQUESTS,
        older: HashFilter | None = None,
    ) -> None:
        """kept: tells the shards of requests that are there before. older: an empty filter, not of the usual size."""
        self._kept = kept
        self._recent = recent
        # Most tables have no older ones, and a filter's 16 MB take longer to get than a small build.
        self._older = older
        self._newest: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def places_of(self, custom_ids: Sequence[str]) -> dict[int, int]:
        """Those of the requests, by number, that came before, with their shards; `MAYBE` if that may be long ago."""
        self._let_go()
        places: dict[int, int] = {}
        if self._older is not None:
            numbers = np.flatnonzero(self._older.may_hold(_hashes(custom_ids))).tolist()
            places.update(dict.fromkeys(numbers, MAYBE))
        for known in (self._kept(custom_ids), self._before, self._newest):
            if known and not known.keys().isdisjoint(custom_ids):
                places.update({number: known[one] for number, one in enumerate(custom_ids) if one in known})
        return places

    def add(self, custom_ids: Sequence[str], place: int) -> None:
        """Requests that were put into a shard."""
        self._newest.update(dict.fromkeys(custom_ids, place))

    def _let_go(self) -> None:
        if len(self._newest) < self._recent:
            return
        if self._before:
            self._older = self._older or HashFilter()
            self._older.add(_hashes(list(self._before)))
        self._before, self._newest = self._newest, {}


def _hashes(custom_ids: Sequence[str]) -> Hashes:
    """Half of the bits that an id has: it is a hash itself."""
    digests = np.frombuffer(bytes.fromhex("".join(custom_ids)), np.uint64)
    return digests[::2]
