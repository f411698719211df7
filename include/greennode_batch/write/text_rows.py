r"""Text rows: answers as lines of CSV or JSON Lines, and such lines read back as texts.

| value | CSV, TSV | JSON Lines |
|---|---|---|
| NULL | nothing between two commas | `null` |
| empty text | `""` | `""` |
| text | as it is; in quotes where it holds a comma, a quote or a line end | a JSON string |
| integer, decimal | all digits | a number with all digits |
| float | the shortest number that reads back the same; `NaN`, `inf`, `-inf` | the same; these three are strings |
| boolean | `true`, `false` | `true`, `false` |
| date, time | `2026-01-31`, `08:30:00` | the same, as strings |
| timestamp | `2026-01-31T08:30:00.5`, with `Z` (UTC) where it has a time zone | the same, as strings |
| list, object | its JSON | a list, an object |

A file is UTF-8 without a byte order mark, and its lines end with `\n`. The first line of CSV has the names of the
columns; each line of JSON Lines has every column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.errors import ConfigError
from greennode_batch.job.file_types import DELIMITERS, FileFormat
from greennode_batch.source.column_types import is_json
from greennode_batch.source.formats.csv_rows import csv_batches, csv_columns
from greennode_batch.source.formats.file_listing import SourceFile
from greennode_batch.source.formats.json_rows import json_lines

LINE = "greennode line"
"""The column of JSON Lines that has the whole line, so that a row which stays is written back byte for byte."""

_WHOLE_NUMBER = r"^(-?[0-9]+)$"
_NO_NUMBER = r"^[+-]?(nan|inf)$"
# What JSON has no bare character for.
_ESCAPED = '["\\\\\\x00-\\x1f]'
_NULL, _QUOTE = b"null", b'"'


def text_rows(rows: pa.Table, file_format: FileFormat) -> pa.Table:
    """Rows as texts, which `write_texts` writes: of CSV each value, of JSON Lines each value and the line."""
    texts = pa.table([_texts(rows[name]) for name in rows.column_names], names=rows.column_names)
    if file_format != "jsonl":
        return texts
    pairs = [
        pc.binary_join_element_wise(f"{msgspec.json.encode(field.name).decode()}:", _json_values(field, values), "")
        for field, values in zip(rows.schema, texts.columns, strict=True)
    ]
    lines = pc.binary_join_element_wise("{", pc.binary_join_element_wise(*pairs, ","), "}", "")
    return texts.append_column(LINE, lines)


def write_head(columns: Sequence[str], file_format: FileFormat) -> bytes:
    """What a file begins with."""
    if file_format == "jsonl":
        return b""
    return _csv_lines(pa.table([pa.array([name]) for name in columns], names=list(columns)), file_format)


def write_texts(texts: pa.Table, file_format: FileFormat) -> bytes:
    """Lines of a file, of rows as `text_rows` or `read_texts` give them."""
    if not texts.num_rows:
        return b""
    if file_format == "jsonl":
        return ("\n".join(texts[LINE].to_pylist()) + "\n").encode()
    return _csv_lines(texts, file_format)


def read_texts(path: Path, file_format: FileFormat) -> Iterator[pa.Table]:
    """The rows of a file as texts, some thousand at a time, all with the same columns.

    Raises ConfigError for what is no such file.
    """
    file = SourceFile(path, "", file_format, {})
    if file_format == "jsonl":
        yield from _json_texts(file)
        return
    names = csv_columns(file)
    if len(set(names)) < len(names):
        raise ConfigError(f"{path}: has two columns of one name; restore it, or name another file. Nothing was sent")
    schema = pa.schema([(name, pa.string()) for name in names])
    yield schema.empty_table()
    for batch in csv_batches(file, names, allows_nul=True):  # an answer may have one
        yield pa.table(batch.columns, schema=schema)


def _json_texts(file: SourceFile) -> Iterator[pa.Table]:
    """Read twice: any line may have columns that no other has."""
    names = dict.fromkeys(name for lines in json_lines(file) for _, values in lines for name in values)
    schema = pa.schema([*((name, pa.string()) for name in names), (LINE, pa.string())])
    yield schema.empty_table()
    for lines in json_lines(file):
        columns = [[_text_of(values.get(name)) for _, values in lines] for name in names]
        columns.append([line.decode() for line, _ in lines])
        yield pa.table([pa.array(column, pa.string()) for column in columns], schema=schema)


def _text_of(value: msgspec.Raw | None) -> str | None:
    """A JSON value as a text: of a string its characters, of any other its JSON."""
    if value is None:
        return None
    raw = bytes(value)
    if raw == _NULL:
        return None
    return msgspec.json.decode(raw, type=str) if raw.startswith(_QUOTE) else raw.decode()


def _texts(column: pa.ChunkedArray) -> pa.Array:
    arrow, values = column.type, column.combine_chunks()
    if pa.types.is_timestamp(arrow):
        values = values.cast(pa.timestamp(arrow.unit, tz="UTC" if arrow.tz else None)).cast(pa.string())
        return _without_zeros(pc.replace_substring(values, " ", "T", max_replacements=1))
    values = values.cast(pa.string())
    if pa.types.is_time(arrow):
        return _without_zeros(values)
    # What has no fraction is a float all the same.
    return pc.replace_substring_regex(values, _WHOLE_NUMBER, r"\1.0") if pa.types.is_floating(arrow) else values


def _without_zeros(texts: pa.Array) -> pa.Array:
    """Times without the zeros at the end of their fractions."""
    return pc.replace_substring_regex(
        pc.replace_substring_regex(texts, r"(\.[0-9]*?)0+(Z?)$", r"\1\2"), r"\.(Z?)$", r"\1"
    )


def _json_values(field: pa.Field, column: pa.ChunkedArray) -> pa.Array:
    arrow, texts = field.type, column.combine_chunks()
    if is_json(field):
        values = pa.array([None if text is None else _one_line(text) for text in texts.to_pylist()], pa.string())
    elif pa.types.is_floating(arrow):
        values = pc.if_else(pc.match_substring_regex(texts, _NO_NUMBER, ignore_case=True), _json_strings(texts), texts)
    elif pa.types.is_boolean(arrow) or pa.types.is_integer(arrow) or pa.types.is_decimal(arrow):
        values = texts
    else:
        values = _json_strings(texts)
    return pc.fill_null(values, _NULL.decode())


def _one_line(text: str) -> str:
    """JSON in one line, with its numbers as they are; a text that is no JSON as a string."""
    try:
        return msgspec.json.format(text, indent=-1)
    except msgspec.DecodeError:
        return msgspec.json.encode(text).decode()


def _json_strings(texts: pa.Array) -> pa.Array:
    strings = pc.binary_join_element_wise('"', texts, '"', "")
    is_escaped = pc.fill_null(pc.match_substring_regex(texts, _ESCAPED), fill_value=False)
    escaped = [msgspec.json.encode(text).decode() for text in texts.filter(is_escaped).to_pylist()]
    return pc.replace_with_mask(strings, is_escaped, pa.array(escaped, pa.string())) if escaped else strings


def _csv_lines(texts: pa.Table, file_format: FileFormat) -> bytes:
    delimiter = DELIMITERS[file_format]
    in_quotes = re.escape(delimiter) + '|"|\r|\n|^$'
    values = []
    for column in texts.columns:
        cells = column.combine_chunks()
        quoted = pc.binary_join_element_wise('"', pc.replace_substring(cells, '"', '""'), '"', "")
        values.append(pc.fill_null(pc.if_else(pc.match_substring_regex(cells, in_quotes), quoted, cells), ""))
    lines = pc.binary_join_element_wise(*values, delimiter)
    return ("\n".join(lines.to_pylist()) + "\n").encode()
