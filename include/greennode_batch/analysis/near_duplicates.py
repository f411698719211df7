"""Near duplicates: find texts that have almost the same letters. The first text of each group is kept.

MinHash finds the few earlier texts that may be similar, so that a text is not compared with all; only these are then
compared exactly. Similarity is the Jaccard index: the share of four-letter pieces that two texts have in common, in
lower case and without punctuation. It compares letters, not meaning.
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
# The largest error of MinHash's similarity, except in one case in a thousand.
_DOUBT = 0.13


class Kept(NamedTuple):
    """A text that is not similar to any earlier one."""

    name: str
    text: str
    sketch: rensa.RMinHash


class Likeness(NamedTuple):
    """The most similar earlier text."""

    name: str
    similarity: float
    """From 0 to 1; 1.0 means the same pieces."""


class NearDuplicates:
    """Compares each text with the texts kept so far. threshold: the least similarity of near duplicates.

    Holds the kept texts, and about 2 KB for each.
    """

    def __init__(self, threshold: float) -> None:
        if not 0.5 <= threshold <= 1:  # noqa: PLR2004 - below, MinHash in 32 bands would miss some
            raise ConfigError(f"threshold is {threshold}; it must be from 0.5 to 1, and 0.8 is usual")
        self.threshold = threshold
        self._kept: list[Kept] = []
        self._index = rensa.RMinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, num_bands=_BANDS)

    def add(self, name: str, text: str) -> Likeness | None:
        """Keep a text and return None, or return the kept text that it duplicates. name: names the text in results."""
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
    """Yield key, `duplicate_of` and `similarity` of each row, in order. The last two are NULL for a row that is kept.

    text: the column to compare; NULL is similar to nothing. Raises ConfigError if the query lacks one of the columns.
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
    """All sequences of four letters in a text, ignoring differences in spaces, case and punctuation."""
    letters = unicodedata.normalize("NFC", text).casefold()
    words = " ".join("".join(char if char.isalnum() else " " for char in letters).split()) or text.strip()
    return frozenset(words[start : start + _PIECE] for start in range(max(1, len(words) - _PIECE + 1)))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)
