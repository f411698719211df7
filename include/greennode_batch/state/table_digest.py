"""Table digest: a number that a database makes of a table's rows; another one if anybody has written into it."""

from __future__ import annotations

from typing import NamedTuple

_MODULUS = 1 << 64


class TableDigest(NamedTuple):
    """How many rows, and the sum of what the database makes of each modulo 2**64."""

    rows: int
    total: int

    def joined_with(self, other: TableDigest) -> TableDigest:
        """That of both sides' rows together."""
        return TableDigest(self.rows + other.rows, (self.total + other.total) % _MODULUS)

    def without(self, other: TableDigest) -> TableDigest:
        """That of these rows but for some of them."""
        return TableDigest(self.rows - other.rows, (self.total - other.total) % _MODULUS)


NO_DIGEST = TableDigest(0, 0)
