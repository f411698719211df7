"""Body JSON: values and texts as they stand in a request's body, so that no server cuts a line there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from greennode_batch.errors import RowError

encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
# Raw in a JSON string these are legal, yet a server that splits its lines as text would cut there.
_LINE_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def encode_texts(texts: Sequence[str]) -> list[bytes]:
    """The texts as they stand within a JSON string, without its quotes. Raises RowError with the place."""
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
    """JSON without a line separator beyond ASCII."""
    for raw, escaped in _LINE_SEPARATORS:
        if raw in encoded:
            encoded = encoded.replace(raw, escaped)
    return encoded
