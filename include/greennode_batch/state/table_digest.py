"""TableDigest: a number that a database computes from a table's rows. It changes if anybody writes to them."""

from __future__ import annotations

from typing import NamedTuple

_MODULUS = 1 << 64


class TableDigest(NamedTuple):
    """The number of rows, and the sum of the hashes that the database computes from them, modulo 2**64."""

    rows: int
    total: int

    def joined_with(self, other: TableDigest) -> TableDigest:
        """The digest of both sets of rows together."""
        return TableDigest(self.rows + other.rows, (self.total + other.total) % _MODULUS)

    def without(self, other: TableDigest) -> TableDigest:
        """The digest of these rows without the other ones, which must be among them."""
        return TableDigest(self.rows - other.rows, (self.total - other.total) % _MODULUS)


NO_DIGEST = TableDigest(0, 0)
