"""Data URLs: bytes of a column, an image or a PDF, as a message can hold them."""

from __future__ import annotations

import base64
from typing import Any

BYTES = bytes | bytearray | memoryview
"""The types that drivers give bytes in."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


def data_url(value: Any, media_type: str | None = None) -> str:
    """`{{ photo | data_url }}`: bytes as a data URL, NULL as nothing.

    media_type: `image/png` and the like; by default the first bytes tell PNG, JPEG, GIF, WebP and PDF. Raises
    TypeError for what are no bytes, ValueError for bytes that do not tell what they are.
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
        f"the bytes begin with {content[:8]!r}, which is no PNG, JPEG, GIF, WebP or PDF; "
        'say what they are: | data_url("image/png")'
    )
