"""Exact JSON: documents whose numbers keep all their digits, read and written."""

from __future__ import annotations

import json
import secrets
from decimal import Decimal
from typing import Any

import msgspec


def exact_number(digits: str) -> float | Decimal:
    """Parse a number with a fraction: as a float if that is exact, else as a Decimal with all its digits."""
    number = float(digits)
    return number if Decimal(repr(number)) == Decimal(digits) else Decimal(digits)


# Stands for a number in a text; no value has it.
_MARK = secrets.token_hex(16)
_DECODER = msgspec.json.Decoder(float_hook=exact_number)


def read_json(document: str | bytes) -> Any:
    """Decode a document. Raises msgspec.DecodeError."""
    return _DECODER.decode(document)


def json_text(value: Any, **options: Any) -> str:
    """Encode a value as `json.dumps` does, with all digits of each Decimal; what JSON lacks becomes a text.

    options: those of `json.dumps`. Raises TypeError for bytes.
    """
    decimals: list[Decimal] = []

    def default(other: Any) -> Any:
        if isinstance(other, bytes | bytearray | memoryview):
            raise TypeError("bytes have no text form")
        if not isinstance(other, Decimal) or not other.is_finite():
            return str(other)
        decimals.append(other)
        return f"{_MARK}{len(decimals) - 1}"

    text = json.dumps(value, ensure_ascii=False, default=default, **options)
    for index, one in enumerate(decimals):
        text = text.replace(f'"{_MARK}{index}"', str(one), 1)
    return text
