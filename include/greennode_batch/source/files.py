"""File source: rows of Parquet, CSV and JSON Lines files, from a file or a folder, local or in an object store."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
from upath import UPath

from greennode_batch.errors import ConfigError, RowError
from greennode_batch.job.file_types import DEFAULT_DIALECT, CsvDialect, FileFormat
from greennode_batch.source.column_types import to_arrow
from greennode_batch.source.formats.common_types import common_type, plain_type
from greennode_batch.source.formats.csv_rows import csv_batches, csv_columns, delimiter_hint
from greennode_batch.source.formats.declared_types import as_type, declared_type
from greennode_batch.source.formats.file_listing import SourceFile, source_files
from greennode_batch.source.formats.json_rows import json_batches, json_columns
from greennode_batch.source.formats.parquet_rows import parquet_batches, parquet_layout, parquet_schema, row_number
from greennode_batch.source.formats.python_range import first_beyond
from greennode_batch.source.partition import WHOLE, Part
from greennode_batch.source.rows import RowBatch, Rows, check_columns
from greennode_batch.wording import given_by

log = logging.getLogger(__name__)

_OPENED_AT_ONCE = 8
_TEXT_TABLES = ("csv", "tsv")

Types = Mapping[str, pa.DataType]


def read_files(
    path: UPath | Path,
    *,
    file_format: FileFormat | None = None,
    types: Mapping[str, str] | None = None,
    dialect: CsvDialect = DEFAULT_DIALECT,
    columns: Collection[str] | None = None,
    part: Part = WHOLE,
) -> Rows:
    """Read the rows of a file, or of all files of one format below a folder, in the order of their names.

    columns: the columns to read, if they exist; None reads all.
    types: the declared types by column name, in the words of `FileSource`.
    dialect: how CSV files are written.
    part: which of the files to read, or which row groups of a single Parquet file. Column names and types are those of
        all files in any case.

    The call reads the column names; the rows are read later, on demand, in batches of a few thousand rows or a few
    megabytes. Raises ConfigError with the file's name if a file cannot be read.
    """
    declared = {name: declared_type(words) for name, words in (types or {}).items()}
    files = [dataclasses.replace(file, dialect=dialect) for file in source_files(path, file_format)]
    if files[0].format not in _TEXT_TABLES and dialect != DEFAULT_DIALECT:
        raise ConfigError(
            f"{files[0]}: is {files[0].format}, and only CSV and TSV files have a delimiter, quote, escape or "
            "encoding; leave these out. Nothing was sent"
        )
    partitions = [name for file in files for name in file.partitions]
    stored: list[Types | None]
    if files[0].format == "jsonl":
        sought = None if columns is None else set(columns) - declared.keys() - set(partitions)
        names = dict.fromkeys((*json_columns(files, sought), *declared, *partitions))
        stored = [None] * len(files)
        known: Types = declared
    else:
        schemas = _schemas(files, columns)
        names = dict.fromkeys((*(name for schema in schemas for name in schema), *partitions))
        if files[0].format in _TEXT_TABLES and columns is not None and names.keys().isdisjoint(columns):
            _refuse_other_delimiter(files[0], tuple(schemas[0]))
        stored = list(schemas)
        known = _known_types(files, schemas, [name for name in names if columns is None or name in columns], declared)
    missing = [name for name in declared if name not in names]
    if missing:
        raise ConfigError(
            f"{path}: {given_by('types', 'types=')} declares {', '.join(missing)}, but the columns are "
            f"{', '.join(names)}. Nothing was sent"
        )
    wanted = [name for name in names if columns is None or name in columns]
    read = zip(files, stored, strict=True) if part == WHOLE else _dealt(files, stored, part)
    batches = (batch for file, own in read for batch in _batches(file, own, wanted, known))
    return Rows(tuple(names), batches, "" if part == WHOLE else _origin(files), frozenset(known))


def _dealt(
    files: Sequence[SourceFile], stored: Sequence[Types | None], part: Part
) -> Sequence[tuple[SourceFile, Types | None]]:
    """Select the files, or the row groups, of a part. Raises ConfigError for a single file that is not Parquet."""
    if _is_divided(files):
        return [(dataclasses.replace(files[0], part=part), stored[0])]
    if not files[0].name:
        raise ConfigError(
            f"{files[0]}: a single file is read in parts only if it is Parquet; name a folder of several files, or "
            "remove partitions from the job. Nothing was sent"
        )
    return part.dealt(list(zip(files, stored, strict=True)))


def _is_divided(files: Sequence[SourceFile]) -> bool:
    return len(files) == 1 and files[0].format == "parquet"


def _origin(files: Sequence[SourceFile]) -> str:
    """Hash what the parts divide: the list of files, or the layout of a single Parquet file."""
    items = [parquet_layout(files[0])] if _is_divided(files) else []
    items += [file.name for file in files]
    return hashlib.blake2b("\n".join(items).encode(), digest_size=16).hexdigest()


def _schemas(files: Sequence[SourceFile], columns: Collection[str] | None) -> list[Types]:
    """Read the columns of each file with their types, without those that have no name or a name that occurs twice."""
    with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
        fields = list(pool.map(_fields, files))
    schemas = [_named_fields(file, found, columns) for file, found in zip(files, fields, strict=True)]
    left_out = [len(found) - len(schema) for found, schema in zip(fields, schemas, strict=True)]
    if any(left_out):
        log.warning(
            "Columns without a name, or with a name that occurs twice, are left out: %d of %s",
            max(left_out),
            files[left_out.index(max(left_out))],
        )
    return schemas


def _fields(file: SourceFile) -> list[tuple[str, pa.DataType]]:
    if file.format == "parquet":
        return [(field.name, plain_type(field.type)) for field in parquet_schema(file)]
    return [(name, pa.string()) for name in csv_columns(file)]


def _refuse_other_delimiter(file: SourceFile, names: Sequence[str]) -> None:
    """Raise ConfigError if no needed column was found and the header seems to have another delimiter."""
    hint = delimiter_hint(names)
    if hint:
        raise ConfigError(f"{file}: has the single column {names[0]!r}{hint}. Nothing was sent")


def _named_fields(
    file: SourceFile, fields: Sequence[tuple[str, pa.DataType]], columns: Collection[str] | None
) -> Types:
    """The columns whose name is unique. Raises ConfigError for a name that is needed and occurs twice."""
    names = [name for name, _ in fields]
    try:
        check_columns(tuple(name for name in names if name.strip() and (columns is None or name in columns)))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    counts = Counter(names)
    return {
        name: arrow
        for name, arrow in fields
        if counts[name] == 1 and (name.strip() or (columns is not None and name in columns))
    }


def _known_types(
    files: Sequence[SourceFile], schemas: Sequence[Types], wanted: Sequence[str], declared: Types
) -> Types:
    """Find the type of each column that is declared or stored in the files.

    Raises ConfigError if two files store a column with incompatible types.
    """
    known = dict(declared)
    said_by: dict[str, SourceFile] = {}
    for file, schema in zip(files, schemas, strict=True):
        for name in wanted:
            if name in declared or name not in schema:
                continue
            common = common_type(known[name], schema[name]) if name in known else schema[name]
            if common is None:
                raise ConfigError(
                    f"column {name} is {known[name]} in {said_by[name]} and {schema[name]} in {file}; "
                    f"declare one type for all files with {given_by('types', f'types={{{name!r}: …}}')}. "
                    "Nothing was sent"
                )
            if common != known.get(name):
                known[name], said_by[name] = common, file
    return known


def _batches(file: SourceFile, stored: Types | None, wanted: Sequence[str], known: Types) -> Iterator[RowBatch]:
    """Read a file's rows. stored: the file's own columns; None if each row may have other columns.

    Raises ConfigError, with column and row, for a value that its type or Python cannot hold.
    """
    own = [name for name in wanted if stored is None or name in stored]
    start = 0
    for count, columns in _stored_batches(file, own):
        made = {}
        for name in wanted:
            try:
                made[name] = _column(columns.get(name), file, name, count, known.get(name))
            except RowError as error:
                index = start + (error.row or 0)
                number = row_number(file, index) if file.format == "parquet" else index + 1
                raise ConfigError(f"{file}: column {name}, row {number}: {error}") from None
        yield RowBatch(count, made)
        start += count


def _stored_batches(file: SourceFile, own: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if file.format == "jsonl":
        yield from json_batches(file, [name for name in own if name not in file.partitions])
        return
    for batch in parquet_batches(file, own) if file.format == "parquet" else csv_batches(file, own):
        yield batch.num_rows, {name: batch[name] for name in own}


def _column(held: Any, file: SourceFile, name: str, count: int, wanted: pa.DataType | None) -> Any:
    """Convert a column to its type.

    A column that the file lacks takes its value from a partition folder (`day=2026-01-31`), or is NULL.
    """
    if held is None and file.partitions.get(name) is not None:
        held = pa.repeat(pa.scalar(file.partitions[name], pa.string()), count)
    if held is None:
        return pa.nulls(count, wanted or pa.string())
    if wanted is None:
        return held
    made = as_type(held if isinstance(held, pa.Array) else to_arrow(held, name), wanted)
    beyond = first_beyond(made)
    if beyond is not None:
        zone = pa.types.is_timestamp(made.type) and made.type.tz not in (None, "UTC")
        in_utc = given_by("types", f"types={{{name!r}: 'timestamptz'}}")
        hint = f", or read the column in UTC by {in_utc}" if zone else ""
        raise RowError(
            f"{_shown(made[beyond])} is no {made.type} that Python can hold (years 1 to 9999, microseconds); correct "
            f"the value, or leave the column out{hint}. Nothing was sent",
            row=beyond,
        )
    return made


def _shown(value: pa.Scalar) -> str:
    return str(value.cast(pa.string()) if not pa.types.is_nested(value.type) else "its value")
