r"""Rows of a CSV file, as texts: types are not guessed, so `007` stays `007`.

The format is RFC 4180 with a header line: values that contain commas, quotes (doubled) or line ends are in quotes. An
empty value is NULL, and `""` is an empty text. The encoding is UTF-8, with or without a byte order mark; lines end with
\n or \r\n, and blank lines are skipped. A dialect may differ in delimiter, quote, escape character and encoding. What a
strict reader refuses is refused.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.csv as pa_csv

from greennode_batch.errors import ConfigError
from greennode_batch.job.file_types import DELIMITERS, CsvDialect
from greennode_batch.source.formats.batch_limits import pieces
from greennode_batch.source.formats.file_listing import SourceFile
from greennode_batch.source.formats.strict_csv import StrayError, StrictCsv
from greennode_batch.wording import given_by

# Arrow reads a few blocks ahead. A row must fit into one block.
_BLOCK_BYTES = 4 << 20
_HEADER_BYTES = 1 << 20
_LIKELY_DELIMITERS = ";\t|,"
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NO_TEXT = {
    b"\x1f\x8b": "; it seems to be compressed: its name must end with .gz",
    b"PK\x03\x04": "; it seems to be a spreadsheet or a ZIP archive: export it as CSV, or unpack it",
    b"PAR1": "; it seems to be a Parquet file: its name must end with .parquet",
}
_LONE_CR = re.compile(rb"\r(?!\n|$)")
_NO_NAMES = "its first line cannot be read as column names in UTF-8, quoted as in CSV"
_ROW = re.compile(r"Row #(\d+)")


def csv_columns(file: SourceFile) -> tuple[str, ...]:
    """Read the column names from the header line. A name may be blank, or occur twice."""
    with _opened(file) as opened:
        return _read_names(file, opened)


def csv_batches(file: SourceFile, columns: Sequence[str], *, allows_nul: bool = False) -> Iterator[pa.RecordBatch]:
    """Read these columns of all rows. Holds a few megabytes.

    allows_nul: whether a value may have a NUL.

    Raises ConfigError with the row's number for a malformed row.
    """
    with _opened(file) as opened:
        names = _read_names(file, opened)
        end = secrets.token_hex(16)
        # Without this row, Arrow would accept a quote that is never closed.
        dialect = _dialect(file)
        last_row = f"\n{(dialect.delimiter or '').join([end] * len(names))}\n"
        rows = StrictCsv(opened, dialect, last_row.encode(), allows_nul=allows_nul)
        try:
            with _reader(file, cast("BinaryIO", rows), names, columns) as reader:
                for batch in reader:
                    is_ended = batch.num_rows > 0 and batch[0][-1].as_py() == end
                    named = batch.rename_columns(list(columns)) if columns else batch
                    yield from pieces(named.slice(0, batch.num_rows - is_ended))
        except StrayError as error:
            raise ConfigError(f"{file}, {_stray_words(file, error)}. Nothing was sent") from None
        except pa.ArrowInvalid as error:
            raise ConfigError(f"{file}: {_words_of(error, file, names)}. Nothing was sent") from None


def _dialect(file: SourceFile) -> CsvDialect:
    """The file's dialect with all defaults."""
    said = file.dialect
    return CsvDialect(
        said.delimiter or DELIMITERS[file.format],
        '"' if said.quote is None else said.quote,
        said.escape,
        said.encoding or "utf-8",
    )


def _reader(
    file: SourceFile, rows: BinaryIO, names: Sequence[str], columns: Sequence[str]
) -> pa_csv.CSVStreamingReader:
    dialect = _dialect(file)
    # Numbers, because names may be blank or occur twice.
    numbers = [str(index) for index in range(len(names))]
    return pa_csv.open_csv(
        rows,
        pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=numbers),
        pa_csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            escape_char=dialect.escape or False,
            newlines_in_values=True,
        ),
        pa_csv.ConvertOptions(
            column_types=dict.fromkeys(numbers, pa.string()),
            include_columns=[numbers[names.index(name)] for name in columns],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )


@contextmanager
def _opened(file: SourceFile) -> Iterator[BinaryIO]:
    """Open the file as UTF-8, whatever its encoding."""
    encoding = codecs.lookup(_dialect(file).encoding or "").name
    with file.stream() as opened:
        if encoding in {"utf-8", "utf-8-sig"}:
            yield opened
            return
        recoded = cast("io.RawIOBase", _Recoded(file, opened, encoding))
        yield cast("BinaryIO", io.BufferedReader(recoded, _BLOCK_BYTES))


class _Recoded(io.RawIOBase):
    """A file of another encoding, read as UTF-8."""

    def __init__(self, file: SourceFile, opened: BinaryIO, encoding: str) -> None:
        self._file = file
        self._opened = opened
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._encoding = encoding
        self._rest = b""
        self._line = 1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block = self._opened.read(_BLOCK_BYTES)
            try:
                self._rest = self._decoder.decode(block, final=not block).encode()
            except UnicodeError as error:
                start = getattr(error, "start", 0)
                line = self._line + block[:start].decode(self._encoding, "replace").count("\n")
                raise ConfigError(
                    f"{self._file}, line {line}: is not {self._encoding} ({error}); name the file's encoding by "
                    f"{given_by('encoding', 'encoding=')}. Nothing was sent"
                ) from None
            self._line += self._rest.count(b"\n")
            if not block:
                break
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _read_names(file: SourceFile, opened: BinaryIO) -> tuple[str, ...]:
    """Read the column names, and leave the file at the start of the first row."""
    lines: list[bytes] = []
    try:
        names = next(_csv_reader(file, _header_lines(file, opened, lines)))
        StrictCsv(io.BytesIO(b"".join(lines)), _dialect(file), b"").read()
    except StopIteration:
        raise ConfigError(f"{file}: is empty; a CSV file begins with a line of column names") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: {_NO_NAMES} ({error}){_encoding_hint(file)}") from None
    except (csv.Error, StrayError) as error:
        read = b"".join(lines)
        hint = _encoding_hint(file) if b"\0" in read else _quote_hint(read)
        if _LONE_CR.search(read):
            hint = r"; its lines end with \r alone: save it with lines that end with \n"
        raise ConfigError(f"{file}: {_NO_NAMES} ({error}){hint}") from None
    return tuple(names)


def _csv_reader(file: SourceFile, lines: Iterator[str]) -> Iterator[list[str]]:
    dialect = _dialect(file)
    return csv.reader(
        lines,
        delimiter=cast("str", dialect.delimiter),
        quotechar=dialect.quote or None,
        escapechar=dialect.escape,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        strict=True,
    )


def _header_lines(file: SourceFile, opened: BinaryIO, read: list[bytes]) -> Iterator[str]:
    """The lines of the header; blank ones before it are skipped. read: gets all lines."""
    while line := opened.readline(_HEADER_BYTES):
        if len(line) >= _HEADER_BYTES:
            raise ConfigError(f"{file}: its first line, the column names, is longer than {_HEADER_BYTES:,} bytes")
        if not read:
            line = line.removeprefix(codecs.BOM_UTF8)
        read.append(line)
        if line.strip():
            yield line.decode()


def _row_at(file: SourceFile, line: int) -> int:
    """The number of the row that a line belongs to, counted from 1 after the header; blank lines are none."""
    with _opened(file) as opened:
        texts = io.TextIOWrapper(cast("Any", opened), "utf-8", "replace", newline="")
        reader = _csv_reader(file, iter(texts))
        row = 0
        try:
            while cast("Any", reader).line_num < line:
                row += bool(next(reader))
        except (csv.Error, StopIteration):
            row += 1
        texts.detach()
        return max(row - 1, 1)


def _stray_words(file: SourceFile, error: StrayError) -> str:
    """Where in the file a strict reader stops, and why."""
    with _opened(file) as opened:
        lines: list[bytes] = []
        next(_csv_reader(file, _header_lines(file, opened, lines)))
        count = len(lines)
        left = error.start
        while block := opened.read(min(left, _BLOCK_BYTES)):
            count += block.count(b"\n")
            left -= len(block)
        concerned = opened.read(min(error.stop - error.start, _BLOCK_BYTES))
    row = _row_at(file, count + 1)
    hint = _quote_hint(concerned) if error.is_quote else "; correct the file"
    return f"row {row} after the first line (line {count + 1}): {error}{hint}"


def _quote_hint(concerned: bytes) -> str:
    """How to declare the quotes that the file seems to have."""
    if b"\\" in concerned:
        escape = given_by("escape", r"escape='\\'", value=r"'\'")
        return f". Quotes in this file seem to be escaped by a backslash: set {escape}"
    no_quote = given_by("quote", "quote=''", value="''")
    return (
        ". Double a quote that belongs to a value, and put the value into quotes. If quotes are ordinary characters in "
        f"this file, set {no_quote}"
    )


def delimiter_hint(names: Sequence[str]) -> str:
    """How to declare the delimiter that the header seems to have; empty if it has several columns."""
    found = max(_LIKELY_DELIMITERS, key=names[0].count) if len(names) == 1 else ""
    if not found or found not in names[0]:
        return ""
    delimiter = given_by("delimiter", f"delimiter={found!r}", value=f"'{found}'")
    return f"; its values seem to be separated by {found!r}: set {delimiter}"


def _encoding_hint(file: SourceFile) -> str:
    """How to declare the encoding that the file seems to have, or what it seems to be instead of text."""
    with file.stream() as opened:
        start = opened.read(4)
    for mark, hint in _NO_TEXT.items():
        if start.startswith(mark):
            return hint
    likely = "utf-16" if start[:2] in _UTF_16_MARKS else "cp1252"
    if b"\0" in start and likely != "utf-16":
        likely = "utf-16-be" if start[:1] == b"\0" else "utf-16-le"
    encoding = given_by("encoding", f"encoding={likely!r}", value=likely)
    return f"; store it as UTF-8, or name its encoding, such as {encoding}"


def _words_of(error: pa.ArrowInvalid, file: SourceFile, names: Sequence[str]) -> str:
    words = " ".join(str(error).split())[:300]
    if "straddl" in words:
        return f"a row is longer than {_BLOCK_BYTES:,} bytes, or a quote is opened and never closed"
    if "UTF8" in words:
        line = _undecodable_line(file)
        row = _row_at(file, line)
        return f"row {row} after the first line (line {line}): is not UTF-8{_encoding_hint(file)}"
    words = _ROW.sub(r"row \1 after the first line", words.removeprefix("CSV parse error: "))
    return words + delimiter_hint(names)


def _undecodable_line(file: SourceFile) -> int:
    with file.stream() as opened:
        number = 0
        for line in opened:
            number += 1
            try:
                line.decode()
            except UnicodeDecodeError:
                break
        return number
