"""Bounds: how large a reply may be, and how slow; docs/explanation/security.md lists the same numbers. No I/O."""

import zlib
from collections.abc import Iterator, Mapping
from typing import Final

MAX_REPLY_BYTES: Final = 16 * 1024 * 1024
"""Of a reply that is read into memory, decompressed. JSON about batches, files, models or one answer is far smaller."""
MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""Of one line of a result file: one answer."""
MAX_FILE_BYTES: Final = 512 * 1024 * 1024
"""Of a downloaded file, decompressed, if the caller does not say how many requests it answers."""
MAX_PAGES: Final = 2_000
"""Of a list."""
MAX_ENTRIES: Final = 200_000
"""Of a list."""
MIN_BYTES_PER_SECOND: Final = 8 * 1024
"""The minimum average speed of a file transfer, once the deadline of an ordinary call has passed."""
MAX_TOKENS: Final = 1_000_000_000
"""Of one request. No model reads or writes a thousandth of it, and the sum over a run's requests still fits 64 bits."""
OVER_BOUND: Final = "over_bound"
"""The code of an error that this client raises itself: the content is still at the server."""

_BASE_FILE_BYTES = 64 * 1024 * 1024
_BYTES_PER_REQUEST = 256 * 1024
_PIECE_BYTES = 1024 * 1024


def max_file_bytes(requests: int) -> int:
    """The largest result file expected for so many requests: room for a few huge answers, or for many long ones."""
    return _BASE_FILE_BYTES + requests * _BYTES_PER_REQUEST


def file_seconds(size: int) -> float:
    """The time that a file of this size gets on top of an ordinary call."""
    return size / MIN_BYTES_PER_SECOND


def in_mib(size: int) -> str:
    """A bound as text, such as `64 MiB`."""
    return f"{size / (1024 * 1024):,.0f} MiB"


class Gunzip:
    """Decompresses gzip piece by piece (1 MiB), several members in a row too, and checks that the data are complete."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    @property
    def whole(self) -> bool:
        """Whether the data are complete."""
        return self._member.eof

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """Decompress the next bytes of the stream. Holds one piece."""
        is_full = False
        while data or is_full:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            piece = self._member.decompress(data, _PIECE_BYTES)
            is_full = len(piece) == _PIECE_BYTES and not self._member.eof
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            yield piece


class Body:
    """The body of a reply: decompressed as it arrives, held in memory, of bounded size."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.data = bytearray()
        self._encoding = headers.get("content-encoding", "").strip().lower()
        self._gunzip = Gunzip() if self._encoding in {"gzip", "x-gzip"} else None

    def take(self, chunk: bytes) -> str | None:
        """Add the next bytes. Returns why the reply has to be given up, or None."""
        if self._gunzip is None and self._encoding not in {"", "identity"}:
            return f"the reply is encoded as {self._encoding[:40]!r}, but only gzip was requested"
        try:
            for piece in [chunk] if self._gunzip is None else self._gunzip.unpack(chunk):
                self.data += piece
                if len(self.data) > MAX_REPLY_BYTES:
                    return f"gave up: the reply is larger than the limit of {in_mib(MAX_REPLY_BYTES)}"
        except zlib.error as error:
            return f"the gzip data of the reply are broken ({error})"
        return None

    def end(self) -> str | None:
        """Why the body is not complete, or None."""
        is_cut = self._gunzip is not None and self.data and not self._gunzip.whole
        return "the gzip data of the reply are incomplete" if is_cut else None
