r"""Rows of a CSV file, as texts: types are not guessed, so `007` stays `007`.

The format is RFC 4180 with a header line: values that contain commas, quotes (doubled) or line ends are quoted. An
empty value is NULL, and `""` is an empty text. The encoding is UTF-8, with or without a byte order mark; lines end with
\n or \r\n.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.csv as pa_csv

from greennode_batch.errors import ConfigError
from greennode_batch.source.formats.batch_limits import pieces
from greennode_batch.source.formats.file_listing import SourceFile

# Arrow reads a few blocks ahead. A row must fit into one block.
_BLOCK_BYTES = 4 << 20
_HEADER_BYTES = 1 << 20
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_ROW = re.compile(r"Row #(\d+)")


def csv_columns(file: SourceFile) -> tuple[str, ...]:
    """Read the column names from the header line."""
    with file.stream() as opened:
        return _read_names(file, opened)


def csv_batches(file: SourceFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read these columns of all rows. Holds a few megabytes.

    Raises ConfigError with the row's number for a malformed row.
    """
    with file.stream() as opened:
        names = _read_names(file, opened)
        end = secrets.token_hex(16)
        rows = cast("BinaryIO", _WithLastRow(opened, _DELIMITERS[file.format].join([end] * len(names))))
        is_ended = False
        try:
            with _reader(file, rows, names, columns) as reader:
                for batch in reader:
                    is_ended = batch.num_rows > 0 and batch[0][-1].as_py() == end
                    yield from pieces(batch.slice(0, batch.num_rows - is_ended))
        except pa.ArrowInvalid as error:
            raise ConfigError(f"{file}: {_words_of(error)}. Nothing was sent") from None
        if not is_ended:
            raise ConfigError(
                f'{file}: a quote (") is opened and never closed, so the rows after it cannot be read. Nothing was sent'
            )


def _reader(
    file: SourceFile, rows: BinaryIO, names: Sequence[str], columns: Sequence[str]
) -> pa_csv.CSVStreamingReader:
    return pa_csv.open_csv(
        rows,
        pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=list(names)),
        pa_csv.ParseOptions(delimiter=_DELIMITERS[file.format], newlines_in_values=True),
        pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=list(columns),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )


def _read_names(file: SourceFile, opened: BinaryIO) -> tuple[str, ...]:
    """Read the column names, and leave the file at the start of the first row."""
    try:
        return tuple(next(csv.reader(_lines(file, opened), delimiter=_DELIMITERS[file.format], strict=True)))
    except StopIteration:
        raise ConfigError(f"{file}: is empty; a CSV file begins with a line of column names") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file}: its first line cannot be read as column names in UTF-8, quoted as in CSV ({error})"
        ) from None


def _lines(file: SourceFile, opened: BinaryIO) -> Iterator[str]:
    line = opened.readline(_HEADER_BYTES).removeprefix(codecs.BOM_UTF8)
    while line:
        if len(line) >= _HEADER_BYTES:
            raise ConfigError(f"{file}: its first line, the column names, is longer than {_HEADER_BYTES:,} bytes")
        if line.strip():
            yield line.decode()
        line = opened.readline(_HEADER_BYTES)


class _WithLastRow(io.RawIOBase):
    """A file with one extra row at its end, which shows whether the reader reached it.

    Without it, Arrow would accept a quote that is never closed, and read the rest of the file as one value.
    """

    def __init__(self, file: BinaryIO, row: str) -> None:
        self._file = file
        self._rest = io.BytesIO(f"\n{row}\n".encode())

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size) or self._rest.read(size)


def _words_of(error: pa.ArrowInvalid) -> str:
    words = " ".join(str(error).split())[:300]
    if "straddl" in words:
        return f'a row is longer than {_BLOCK_BYTES:,} bytes, or a quote (") is opened and never closed'
    if "UTF8" in words:
        return f"is not UTF-8 ({words}); store it as UTF-8"
    return _ROW.sub(r"row \1 after the first line", words.removeprefix("CSV parse error: "))
