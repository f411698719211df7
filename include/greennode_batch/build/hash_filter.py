"""A Bloom filter: tells of most hashes that they were never added, in memory that does not grow."""

from __future__ import annotations

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


class HashFilter:
    """Of a hash that was added `may_hold` is always true; of another one, for ten million added, once in 200 times.

    words: of eight bytes, a power of two. By default it takes 16 MB.
    """

    def __init__(self, words: int = 1 << 21) -> None:
        self._words = np.zeros(words, np.uint64)
        self._mask = np.uint64(words * 64 - 1)

    def add(self, hashes: Hashes) -> None:
        """Add hashes of any quality."""
        for bits in self._bits(hashes):
            np.bitwise_or.at(self._words, bits >> _WORD_BITS, _ONE << (bits & _IN_WORD))

    def may_hold(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Which of the hashes may have been added."""
        found = np.ones(len(hashes), np.bool_)
        for bits in self._bits(hashes):
            found &= (self._words[bits >> _WORD_BITS] >> (bits & _IN_WORD) & _ONE).astype(np.bool_)
        return found

    def _bits(self, hashes: Hashes) -> list[Hashes]:
        mixed = hashes * _ODD
        mixed ^= mixed >> _HALF
        mixed *= _MIX
        mixed ^= mixed >> _HALF
        step = mixed >> _HALF | _ONE
        return [mixed + np.uint64(probe) * step & self._mask for probe in range(_PROBES)]
