"""Bounds: how large a reply may be, and how slow; docs/security.md has the same numbers. No I/O."""

import zlib
from collections.abc import Iterator, Mapping
from typing import Final

MAX_REPLY_BYTES: Final = 16 * 1024 * 1024
"""Of a reply that is read into memory, unpacked. JSON about batches, files or models, or one answer, is far less."""
MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""Of one line of a result file: one answer."""
MAX_FILE_BYTES: Final = 512 * 1024 * 1024
"""Of a downloaded file, unpacked, where the caller does not say how much was asked."""
MAX_PAGES: Final = 2_000
"""Of a list."""
MAX_ENTRIES: Final = 200_000
"""Of a list."""
MIN_BYTES_PER_SECOND: Final = 8 * 1024
"""How fast a file has to come or go, on the average of a try, beyond the deadline of an ordinary call."""
MAX_TOKENS: Final = 1_000_000_000
"""Of one request. No model takes or writes a thousandth of it; all requests of a run together still fit 64 bits."""
OVER_BOUND: Final = "over_bound"
"""The code of an error that this client itself raises, not the server: what the server has is not lost."""

_BASE_FILE_BYTES = 64 * 1024 * 1024
_BYTES_PER_REQUEST = 256 * 1024
_PIECE_BYTES = 1024 * 1024


def max_file_bytes(requests: int) -> int:
    """How large a result file of so many requests may be: room for a few huge answers, or for many long ones."""
    return _BASE_FILE_BYTES + requests * _BYTES_PER_REQUEST


def file_seconds(size: int) -> float:
    """How much longer than an ordinary call a file of that size may take."""
    return size / MIN_BYTES_PER_SECOND


def in_mib(size: int) -> str:
    """A bound, in words."""
    return f"{size / (1024 * 1024):,.0f} MiB"


class Gunzip:
    """Unpacks gzip, also several members in a row, a MiB at a time, and knows whether it ended whole."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    @property
    def whole(self) -> bool:
        """Whether nothing is missing at the end."""
        return self._member.eof

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """What these bytes unpack to, as they follow on those before. Holds one piece."""
        is_full = False
        while data or is_full:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            piece = self._member.decompress(data, _PIECE_BYTES)
            is_full = len(piece) == _PIECE_BYTES and not self._member.eof
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            yield piece


class Body:
    """A reply's body as it comes over the wire, unpacked, in memory and bounded."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.data = bytearray()
        self._encoding = headers.get("content-encoding", "").strip().lower()
        self._gunzip = Gunzip() if self._encoding in {"gzip", "x-gzip"} else None

    def take(self, chunk: bytes) -> str | None:
        """Add what came; why to give the reply up, None where it goes on."""
        if self._gunzip is None and self._encoding not in {"", "identity"}:
            return f"the reply comes as {self._encoding[:40]!r}, though only gzip was asked for"
        try:
            for piece in [chunk] if self._gunzip is None else self._gunzip.unpack(chunk):
                self.data += piece
                if len(self.data) > MAX_REPLY_BYTES:
                    return f"gave up: the reply is larger than {in_mib(MAX_REPLY_BYTES)}, the bound"
        except zlib.error as error:
            return f"the gzip data of the reply are broken ({error})"
        return None

    def end(self) -> str | None:
        """Why the body is not whole, None where it is."""
        is_cut = self._gunzip is not None and self.data and not self._gunzip.whole
        return "the gzip data of the reply end before their end" if is_cut else None
