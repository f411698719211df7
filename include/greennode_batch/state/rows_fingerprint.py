"""RowsFingerprint: a sum over rows, which shows whether a shard, its joined.json and a target hold the same ones."""

from __future__ import annotations

from typing import NamedTuple

_MODULUS = 1 << 64


class RowsFingerprint(NamedTuple):
    """The number of rows, and the sum of their hashes modulo 2**64."""

    rows: int
    total: int

    @property
    def hex(self) -> str:
        """The sum as joined.json keeps it: not every JSON reader keeps all 64 bits of a number."""
        return f"{self.total:016x}"

    def joined_with(self, other: RowsFingerprint) -> RowsFingerprint:
        """The fingerprint of both sets of rows together."""
        return RowsFingerprint(self.rows + other.rows, (self.total + other.total) % _MODULUS)


NO_ROWS = RowsFingerprint(0, 0)
