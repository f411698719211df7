"""Near duplicates: texts that say the same in almost the same letters; of each group the first is kept.

MinHash finds the few texts that a text could be like, so that not each is compared with all; those are compared as they
are. Likeness is the share of pieces of four letters that two texts have in common (Jaccard's), of all that they have,
in lower case and without punctuation. It is by letters, not by meaning.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import rensa

from greennode_batch.errors import ConfigError
from greennode_batch.source.rows import Rows
from greennode_batch.tables.key_sample import KeySample

DUPLICATE_OF = "duplicate_of"
SIMILARITY = "similarity"
_PIECE = 4
_PERMUTATIONS, _BANDS, _SEED = 128, 32, 20_260_924
# What MinHash tells of two texts is off by as much, at most, in all but one case of a thousand.
_DOUBT = 0.13


class Kept(NamedTuple):
    """A text that is not like any before it."""

    name: str
    text: str
    sketch: rensa.RMinHash


class Likeness(NamedTuple):
    """The earlier text that a text is most like, and how much: 1.0 has the same pieces."""

    name: str
    similarity: float


class NearDuplicates:
    """Polls each text up among those kept before. threshold: from which likeness on two texts are near duplicates.

    Holds the texts that are kept, and about 2 KB for each.
    """

    def __init__(self, threshold: float) -> None:
        if not 0.5 <= threshold <= 1:  # noqa: PLR2004 - below, MinHash in 32 bands would miss some
            raise ConfigError(f"threshold is {threshold}; it lies in 0.5..1, and 0.8 is usual")
        self.threshold = threshold
        self._kept: list[Kept] = []
        self._index = rensa.RMinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, num_bands=_BANDS)

    def add(self, name: str, text: str) -> Likeness | None:
        """Keep a text, or say of which kept one it is a near duplicate. name: for those that are like it."""
        pieces = _pieces(text)
        sketch = rensa.RMinHash(num_perm=_PERMUTATIONS, seed=_SEED)
        sketch.update(sorted(pieces))
        found = [
            Likeness(kept.name, _jaccard(pieces, _pieces(kept.text)))
            for kept in (self._kept[index] for index in sorted(self._index.query(sketch)))
            if sketch.jaccard(kept.sketch) >= self.threshold - _DOUBT
        ]
        best = max(found, key=lambda like: like.similarity, default=None)
        if best is not None and best.similarity >= self.threshold:
            return best
        self._index.insert(len(self._kept), sketch)
        self._kept.append(Kept(name, text, sketch))
        return None


def mark_near_duplicates(rows: Rows, key: Sequence[str], text: str, threshold: float) -> Iterator[pa.Table]:
    """Key, `duplicate_of` and `similarity` of each row, in the order of the rows; both are NULL for a row that is kept.

    text: the column that is compared; NULL is like nothing. Raises ConfigError for a query without such columns.
    """
    lacking = [name for name in (*key, text) if name not in rows.columns]
    if lacking:
        raise ConfigError(f"the query has no column {', '.join(lacking)}; it has {', '.join(rows.columns)}")
    known = NearDuplicates(threshold)
    for batch in rows.batches:
        keys = pa.table([batch.array(name) for name in key], names=list(key))
        names = map(KeySample.text, zip(*(batch.values(name) for name in key), strict=True))
        marks = [
            None if written is None else known.add(name, str(written))
            for name, written in zip(names, batch.values(text), strict=True)
        ]
        of = pa.array([mark.name if mark else None for mark in marks], pa.string())
        by = pa.array([round(mark.similarity, 3) if mark else None for mark in marks], pa.float64())
        yield keys.append_column(DUPLICATE_OF, of).append_column(SIMILARITY, by)


def _pieces(text: str) -> frozenset[str]:
    """Each four letters in a row, of the text as one that only differs in spaces, case or punctuation has it."""
    letters = unicodedata.normalize("NFC", text).casefold()
    words = " ".join("".join(char if char.isalnum() else " " for char in letters).split()) or text.strip()
    return frozenset(words[start : start + _PIECE] for start in range(max(1, len(words) - _PIECE + 1)))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)
