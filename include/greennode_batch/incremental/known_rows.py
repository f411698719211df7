"""Known rows: what a target has of earlier runs, so that a row is asked again only if its request is another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import pyarrow as pa

from greennode_batch.state.fingerprint import Fingerprint
from greennode_batch.state.plan import LeftRows


class KnownRows(Protocol):
    """A target that can be asked by key.

    name: of the table. found: how many rows it had for the keys that it was asked for since `begin`. replaced: a digest
    of those among them that are to be written over, and of those that `left` removed.
    """

    name: str
    found: int
    replaced: Fingerprint

    def begin(self) -> Fingerprint | None:
        """Begin to count; a digest of key, custom_id and status of all rows, None where the database makes none."""

    def answered(self, keys: pa.Table, custom_ids: Sequence[str]) -> Sequence[int]:
        """Which of these rows have a good answer to this very request: their places.

        keys: the target's key columns, a row each.
        """

    def left(self, keys: Iterable[pa.Table], *, asked: pa.Table | None = None, remove: bool) -> LeftRows:
        """The target's rows whose keys are not among these; removes them if told to.

        keys: of all rows of the source, some thousand at a time. Holds none of them. asked: what the other columns of
        the target's key may hold, if it has any: a row with anything else is neither left nor removed.
        """
