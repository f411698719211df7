"""Strict CSV: bytes on their way to a lenient reader, stopped at the first that a strict reader refuses.

Arrow reads `"a"b` as `ab` and takes every quote as one that opens or closes, so that one stray quote moves the borders
of all later rows. Here a quote opens only at the start of a value and closes only at its end.
"""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from greennode_batch.job.file_types import CsvDialect

_NEWLINE, _RETURN, _NUL = b"\n", b"\r", b"\0"
Indexes = npt.NDArray[np.int64]


class StrayError(ValueError):
    """Bytes that a strict reader refuses.

    start, stop: where they are, counted from the first byte that was read. is_quote: whether a quote is wrong.
    """

    def __init__(self, words: str, start: int, stop: int, *, is_quote: bool = False) -> None:
        super().__init__(words)
        self.start = start
        self.stop = stop
        self.is_quote = is_quote


class StrictCsv(io.RawIOBase):
    """The bytes of a file, checked as they are read, then the bytes of `end`. Holds nothing.

    file: at the start of a row, in UTF-8. allows_nul: whether a value may have a NUL. Raises StrayError.
    """

    def __init__(self, file: BinaryIO, dialect: CsvDialect, end: bytes, *, allows_nul: bool = False) -> None:
        self._file = file
        self._end = io.BytesIO(end)
        self._allows_nul = allows_nul
        self._quote = (dialect.quote or "").encode()
        self._escape = (dialect.escape or "").encode()
        delimiter = (dialect.delimiter or "").encode()
        self._is_beside_quote = _table_of(delimiter + _NEWLINE + _RETURN + self._quote)
        self._is_escapable = _table_of(delimiter + self._quote + self._escape)
        self._offset = 0
        self._opened = 0
        """Where the last quote opened."""
        self._is_inside = False
        """Whether the next byte is in quotes."""
        self._before = _NEWLINE
        """The last byte."""
        self._is_escaped = False
        """Whether the next byte is escaped."""
        self._was_escaped = False
        """Whether the last byte was."""

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read some bytes; none at the end."""
        block = self._file.read(size)
        if block:
            self._check(block)
            return block
        if self._is_escaped:
            raise self._stray(f"the escape character {self._escape.decode()} is the last of the file", -1)
        if self._is_inside:
            words = f"a quote ({self._quote.decode()}) is opened and never closed"
            raise StrayError(words, self._opened, self._offset, is_quote=True)
        return self._end.read(size)

    def _check(self, block: bytes) -> None:
        if _NUL in block and not self._allows_nul:
            raise self._stray("has a NUL byte", block.index(_NUL))
        data = np.frombuffer(block, np.uint8)
        escaped = self._escaped(block, data)
        quotes = np.empty(0, np.int64)
        if self._quote:
            quotes = self._check_quotes(block, data, escaped)
        if self._before == _RETURN or _RETURN in block:
            self._check_returns(block, data, quotes)
        self._is_inside ^= bool(len(quotes) % 2)
        self._before = block[-1:]
        self._was_escaped = bool(len(escaped)) and int(escaped[-1]) == len(block) - 1
        self._offset += len(block)

    def _escaped(self, block: bytes, data: npt.NDArray[np.uint8]) -> Indexes:
        """The indexes of escaped bytes. Every second escape character of a row of them is escaped."""
        first = np.zeros(int(self._is_escaped), np.int64)
        self._is_escaped = False
        if not self._escape or (self._escape not in block and not len(first)):
            return first
        found = np.flatnonzero(data == self._escape[0])
        found = found[1:] if len(first) and len(found) and found[0] == 0 else found
        starts = np.flatnonzero(np.diff(found, prepend=-2) != 1)
        nth = np.arange(len(found)) - np.repeat(starts, np.diff(starts, append=len(found)))
        escaped = np.concatenate([first, found[nth % 2 == 0] + 1])
        self._is_escaped = bool(len(escaped)) and int(escaped[-1]) == len(block)
        escaped = escaped[: len(escaped) - self._is_escaped]
        wrong = escaped[~self._is_escapable[data[escaped]]]
        if len(wrong):
            raise self._stray(
                f"the escape character {self._escape.decode()} stands before another character than a delimiter, a "
                "quote or itself, which readers of CSV read differently",
                int(wrong[0]),
            )
        return escaped

    def _check_quotes(self, block: bytes, data: npt.NDArray[np.uint8], escaped: Indexes) -> Indexes:
        """The indexes of the quotes that open or close, by turns."""
        is_after_close = self._before == self._quote and not self._is_inside and not self._was_escaped
        if self._quote not in block and not is_after_close:
            return np.empty(0, np.int64)
        quotes = np.flatnonzero(data == self._quote[0])
        if len(escaped):
            quotes = quotes[~np.isin(quotes, escaped)]
        opening, closing = quotes[int(self._is_inside) :: 2], quotes[1 - int(self._is_inside) :: 2]
        before = data[opening - 1]
        if len(opening) and opening[0] == 0:
            before[0] = self._before[0]
        is_stray = ~self._is_beside_quote[before]
        if len(escaped) or self._was_escaped:
            is_stray |= np.isin(opening - 1, [*escaped, *([-1] if self._was_escaped else [])])
        opens = opening[before != self._quote[0]]  # not the second of two quotes in a value
        ended = closing[: len(closing) - int(len(closing) and closing[-1] == len(block) - 1)]
        unended = ended[~self._is_beside_quote[data[ended + 1]]]
        if is_after_close and not self._is_beside_quote[data[0]]:
            unended = np.array([-1])
        # The first one explains what follows from it.
        stray = opening[is_stray]
        if len(stray) and (not len(unended) or stray[0] < unended[0]):
            start = self._offset + int(stray[0])
            words = f"a quote ({self._quote.decode()}) stands in the middle of a value"
            raise StrayError(words, start, start + 1, is_quote=True)
        if len(unended):
            opens = opens[opens < unended[0]]
            start = self._offset + int(opens[-1]) if len(opens) else self._opened
            raise StrayError(
                f"a quote ({self._quote.decode()}) opens a value, and the next one that is not doubled does not end "
                "it, or belongs to a later value, so that the quote is opened and never closed",
                start,
                self._offset + int(unended[0]) + 1,
                is_quote=True,
            )
        if len(opens):
            self._opened = self._offset + int(opens[-1])
        return quotes

    def _check_returns(self, block: bytes, data: npt.NDArray[np.uint8], quotes: Indexes) -> None:
        r"""Raise StrayError for a \r that is neither in quotes nor before a \n: readers disagree on what it is."""
        found = np.flatnonzero(data[:-1] == _RETURN[0])
        lone = found[data[found + 1] != _NEWLINE[0]]
        if self._before == _RETURN and block[:1] != _NEWLINE:
            lone = np.concatenate([[-1], lone])
        outside = lone[(np.searchsorted(quotes, lone) + self._is_inside) % 2 == 0]
        if len(outside):
            raise self._stray(r"has a carriage return (\r) without a line feed (\n)", int(outside[0]))

    def _stray(self, words: str, index: int) -> StrayError:
        start = self._offset + index
        return StrayError(words, start, start + 1)


def _table_of(some: bytes) -> npt.NDArray[np.bool_]:
    """Of each byte, whether it is one of these."""
    table = np.zeros(256, np.bool_)
    table[list(some)] = True
    return table
