r"""Rows of a JSON Lines file: one object per line. Numbers stay exact; nested values are lists and dicts.

A name that a line lacks is NULL in its row. The encoding is UTF-8, with or without a byte order mark; lines end with \n
or \r\n, and blank lines are skipped.
"""

from __future__ import annotations

import codecs
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from greennode_batch.errors import ConfigError
from greennode_batch.source.exact_json import exact_number
from greennode_batch.source.formats.batch_limits import MAX_BYTES, MAX_ROWS
from greennode_batch.source.formats.file_listing import SourceFile

MAX_LINE_BYTES = 32 << 20
_SAMPLE_LINES = 1_000

JsonBatch = tuple[int, Mapping[str, Sequence[Any]]]


def json_columns(files: Sequence[SourceFile], sought: Collection[str] | None) -> tuple[str, ...]:
    """Collect the names in the first thousand lines, and in more lines until every sought name is found.

    sought: the names to look for; None collects the names of all lines. If the files have no lines, the result is
        `sought`, because no row lacks a name.
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
    """Read these columns of all rows, as (number of rows, values by column). Holds a few megabytes.

    Raises ConfigError with the line's number for a line that is not a JSON object.
    """
    decoder = msgspec.json.Decoder(dict[str, Any], float_hook=exact_number)
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
    """Read each line that is not blank, with its number."""
    with file.stream() as opened:
        number = 0
        while line := opened.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise ConfigError(
                    f"{file}, line {number}: is longer than {MAX_LINE_BYTES:,} bytes, too long for a request. "
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
            f"{file}, line {number}: is not a JSON object in UTF-8 ({error}). It begins with {line[:40]!r}. "
            'Each line must be an object, such as {"id": 1}. Nothing was sent'
        ) from None
