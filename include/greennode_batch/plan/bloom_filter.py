"""Bloom filter: tells that a hash was never added, in a fixed amount of memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_PROBES = 4
_WORD_BITS = np.uint64(6)
_IN_WORD = np.uint64(63)
_ONE = np.uint64(1)
_ODD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)


class BloomFilter:
    """A set of hashes in a fixed amount of memory, with a few false positives.

    For an added hash, `may_hold` is always true; for any other, with ten million added, it is true once in 200 times.

    words: the number of 8-byte words, a power of two. The default takes 16 MB.
    """

    def __init__(self, words: int = 1 << 21) -> None:
        self._words = np.zeros(words, np.uint64)
        self._mask = np.uint64(words * 64 - 1)

    def add(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Add hashes of any quality, and return which of them may have been added before."""
        found = np.ones(len(hashes), np.bool_)
        for indexes, marks in self._bits(hashes):
            found &= (self._words[indexes] & marks) != 0
            self._mark(indexes, marks)
        return found

    def _mark(self, indexes: npt.NDArray[np.int64], marks: Hashes) -> None:
        while len(indexes):
            self._words[indexes] |= marks
            # If several marks go to one word, numpy sets only the last.
            is_lost = (self._words[indexes] & marks) == 0
            indexes, marks = indexes[is_lost], marks[is_lost]

    def may_hold(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Which of the hashes may have been added."""
        found = np.ones(len(hashes), np.bool_)
        for indexes, marks in self._bits(hashes):
            found &= (self._words[indexes] & marks) != 0
        return found

    def _bits(self, hashes: Hashes) -> Iterator[tuple[npt.NDArray[np.int64], Hashes]]:
        """The bits of the hashes, probe by probe: the indexes of their words, and the masks within these."""
        mixed = hashes * _ODD
        mixed ^= mixed >> _HALF
        mixed *= _MIX
        mixed ^= mixed >> _HALF
        step = mixed >> _HALF | _ONE
        for _ in range(_PROBES):
            bits = mixed & self._mask
            # numpy indexes with signed integers much faster.
            yield (bits >> _WORD_BITS).view(np.int64), _ONE << (bits & _IN_WORD)
            mixed += step
