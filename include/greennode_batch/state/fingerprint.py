"""Fingerprint: a sum over rows that tells whether two sets of them are the same."""

from __future__ import annotations

from typing import NamedTuple

_MODULUS = 1 << 64


class Fingerprint(NamedTuple):
    """How many rows, and the sum of their hashes modulo 2**64."""

    rows: int
    total: int

    @property
    def hex(self) -> str:
        """The sum as joined.json keeps it: not every reader of JSON keeps 64 bits of a number."""
        return f"{self.total:016x}"

    def joined_with(self, other: Fingerprint) -> Fingerprint:
        """That of both sides' rows together."""
        return Fingerprint(self.rows + other.rows, (self.total + other.total) % _MODULUS)

    def without(self, other: Fingerprint) -> Fingerprint:
        """That of these rows but for some of them."""
        return Fingerprint(self.rows - other.rows, (self.total - other.total) % _MODULUS)


NO_ROWS = Fingerprint(0, 0)
