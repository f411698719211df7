"""Choices that seem random and are a pure function of a seed."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """An endless stream of choices; the same seed gives the same stream on every machine."""

    __slots__ = ("_bits", "_refills", "_seed")

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._refills = 0
        self._bits = 1

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1."""
        if self._bits < n << 16:
            # The 1 in front marks how much is left; 16 spare bits keep the choices even enough.
            size = max(64, (n.bit_length() + 7) // 8 + 8)
            digest = b""
            while len(digest) < size:
                digest += blake2b(self._seed + self._refills.to_bytes(4, "big")).digest()
                self._refills += 1
            self._bits = int.from_bytes(b"\x01" + digest, "big")
        self._bits, choice = divmod(self._bits, n)
        return choice

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.below(len(options))]

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + self.below(high - low + 1)
