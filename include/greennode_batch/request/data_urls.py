"""Data URLs: the bytes of an image or PDF in a form that a message can contain."""

from __future__ import annotations

import base64
from typing import Any

BYTES = bytes | bytearray | memoryview
"""The types in which database drivers return bytes."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


def data_url(value: Any, media_type: str | None = None) -> str:
    """The filter `{{ photo | data_url }}`: bytes as a data URL; NULL renders as nothing.

    media_type: for example `image/png`; by default, the first bytes identify PNG, JPEG, GIF, WebP and PDF.

    Raises TypeError for values that are not bytes, and ValueError for bytes of an unknown type.
    """
    if not value:
        return ""
    if not isinstance(value, BYTES):
        raise TypeError(f"data_url takes bytes, not a {type(value).__name__}; a text that is a URL needs no filter")
    content = bytes(value)
    return f"data:{media_type or _media_type(content)};base64,{base64.b64encode(content).decode()}"


def _media_type(content: bytes) -> str:
    for signature, media_type in _SIGNATURES:
        if content.startswith(signature):
            return media_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    raise ValueError(
        f"the bytes begin with {content[:8]!r}, which is not PNG, JPEG, GIF, WebP or PDF; "
        'name their type: | data_url("image/png")'
    )
