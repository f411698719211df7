"""Body JSON: encodes values and texts for a request body, without characters at which a server may split lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from greennode_batch.errors import RowError

encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
# JSON allows these characters unescaped, but a server that reads its lines as text would split there.
_LINE_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def encode_texts(texts: Sequence[str]) -> list[bytes]:
    """Encode the texts as the content of JSON strings, without the quotes.

    Raises RowError with the index of a text that is not valid Unicode.
    """
    try:
        encoded = [encode(text)[1:-1] for text in texts]
    except UnicodeEncodeError:
        for index, text in enumerate(texts):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                words = f"the text holds half of a surrogate pair at character {error.start}: not UTF-8"
                raise RowError(words, row=index) from None
        raise
    return [one if one.isascii() else escape_line_separators(one) for one in encoded]


def escape_line_separators(encoded: bytes) -> bytes:
    """Escape the line separators beyond ASCII in encoded JSON."""
    for raw, escaped in _LINE_SEPARATORS:
        if raw in encoded:
            encoded = encoded.replace(raw, escaped)
    return encoded
