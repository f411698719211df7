r"""Rows of a JSON Lines file: one object a line. Numbers stay exact, nested values are lists and dicts.

A name that a line lacks is NULL there. UTF-8, with a byte order mark or without; lines end with \n or \r\n, and
blank ones are passed over.
"""

from __future__ import annotations

import codecs
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from greennode_batch.errors import ConfigError
from greennode_batch.source.formats.batch_limits import MAX_BYTES, MAX_ROWS
from greennode_batch.source.formats.file_listing import SourceFile

MAX_LINE_BYTES = 32 << 20
_SAMPLE_LINES = 1_000

JsonBatch = tuple[int, Mapping[str, Sequence[Any]]]


def json_columns(files: Sequence[SourceFile], sought: Collection[str] | None) -> tuple[str, ...]:
    """The names in the first thousand lines, and in all up to the one where the last sought name is found.

    sought: None for every name. Where there is no line, all that are sought: no row lacks them.
    """
    names: dict[str, None] = {}
    count = 0
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    for file in files:
        for number, line in _lines(file):
            names |= dict.fromkeys(_decoded(decoder, line, file, number))
            count += 1
            if sought is not None and count >= _SAMPLE_LINES and names.keys() >= set(sought):
                return tuple(names)
    return tuple(names if count else sought or ())


def json_batches(file: SourceFile, columns: Sequence[str]) -> Iterator[JsonBatch]:
    """The rows, of these columns only: how many, and each column's values. Holds some megabytes.

    Raises ConfigError, with its number, for a line that is no JSON object.
    """
    decoder = msgspec.json.Decoder(dict[str, Any], float_hook=_number)
    rows: list[tuple[Any, ...]] = []
    size = 0
    for number, line in _lines(file):
        if rows and (len(rows) == MAX_ROWS or size + len(line) > MAX_BYTES):
            yield _batch(rows, columns)
            rows, size = [], 0
        row = _decoded(decoder, line, file, number)
        rows.append(tuple(map(row.get, columns)))
        size += len(line)
    if rows:
        yield _batch(rows, columns)


def json_lines(file: SourceFile) -> Iterator[Sequence[tuple[bytes, Mapping[str, msgspec.Raw]]]]:
    """The lines as they are, some thousand or some megabytes at a time, each with its values as JSON.

    Raises ConfigError, with its number, for a line that is no JSON object.
    """
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    held: list[tuple[bytes, Mapping[str, msgspec.Raw]]] = []
    size = 0
    for number, line in _lines(file):
        if held and (len(held) == MAX_ROWS or size + len(line) > MAX_BYTES):
            yield held
            held, size = [], 0
        held.append((line, _decoded(decoder, line, file, number)))
        size += len(line)
    if held:
        yield held


def _batch(rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> JsonBatch:
    return len(rows), dict(zip(columns, zip(*rows, strict=True), strict=True))


def _lines(file: SourceFile) -> Iterator[tuple[int, bytes]]:
    """Each line that is not blank, with its number."""
    with file.stream() as opened:
        number = 0
        while line := opened.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise ConfigError(
                    f"{file}, line {number}: is longer than {MAX_LINE_BYTES:,} bytes; a request cannot be so long. "
                    "Nothing was sent"
                )
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            line = line.strip()
            if line:
                yield number, line


def _decoded(decoder: msgspec.json.Decoder[Any], line: bytes, file: SourceFile, number: int) -> Any:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(
            f"{file}, line {number}: is no JSON object in UTF-8 ({error}). It begins with {line[:40]!r}. "
            'Each line must be one, such as {"id": 1}. Nothing was sent'
        ) from None


def _number(digits: str) -> float | Decimal:
    """A number with a fraction: as a float where that is the same number, else with all its digits."""
    number = float(digits)
    return number if Decimal(repr(number)) == Decimal(digits) else Decimal(digits)
