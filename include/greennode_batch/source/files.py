"""File source: rows of Parquet, CSV and JSON Lines files, from a file or a folder, local or in an object store."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.job.file_types import FileFormat
from greennode_batch.source.column_types import to_arrow
from greennode_batch.source.formats.common_types import common_type, plain_type
from greennode_batch.source.formats.csv_rows import csv_batches, csv_columns
from greennode_batch.source.formats.declared_types import as_type, declared_type
from greennode_batch.source.formats.file_listing import SourceFile, source_files
from greennode_batch.source.formats.json_rows import json_batches, json_columns
from greennode_batch.source.formats.parquet_rows import parquet_batches, parquet_layout, parquet_schema
from greennode_batch.source.partition import WHOLE, Part
from greennode_batch.source.rows import RowBatch, Rows, check_columns
from greennode_batch.wording import given_by

_OPENED_AT_ONCE = 8

Types = Mapping[str, pa.DataType]


def read_files(
    path: UPath | Path,
    *,
    file_format: FileFormat | None = None,
    types: Mapping[str, str] | None = None,
    columns: Collection[str] | None = None,
    part: Part = WHOLE,
) -> Rows:
    """Read the rows of a file, or of all files of one format below a folder, in the order of their names.

    columns: the columns to read, if they exist; None reads all.
    types: the declared types by column name, in the words of `FileSource`.
    part: which of the files to read, or which row groups of a single Parquet file. Column names and types are those of
        all files in any case.

    The call reads the column names; the rows are read later, on demand, in batches of a few thousand rows or a few
    megabytes. Raises ConfigError with the file's name if a file cannot be read.
    """
    declared = {name: declared_type(words) for name, words in (types or {}).items()}
    files = source_files(path, file_format)
    partitions = [name for file in files for name in file.partitions]
    stored: list[Types | None]
    if files[0].format == "jsonl":
        sought = None if columns is None else set(columns) - declared.keys() - set(partitions)
        names = dict.fromkeys((*json_columns(files, sought), *declared, *partitions))
        stored = [None] * len(files)
        known: Types = declared
    else:
        schemas = _schemas(files)
        names = dict.fromkeys((*(name for schema in schemas for name in schema), *partitions))
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
    return Rows(tuple(names), batches, "" if part == WHOLE else _origin(files))


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


def _schemas(files: Sequence[SourceFile]) -> list[Types]:
    """Read the columns of each file with their types."""
    with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
        return list(pool.map(_schema, files))


def _schema(file: SourceFile) -> Types:
    if file.format == "parquet":
        schema = parquet_schema(file)
        names, types = schema.names, [plain_type(arrow) for arrow in schema.types]
    else:
        names = list(csv_columns(file))
        types = [pa.string()] * len(names)
    try:
        check_columns(tuple(names))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    return dict(zip(names, types, strict=True))


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
    """Read a file's rows. stored: the file's own columns; None if each row may have other columns."""
    own = [name for name in wanted if stored is None or name in stored]
    for count, columns in _stored_batches(file, own):
        yield RowBatch(count, {name: _column(columns.get(name), file, name, count, known.get(name)) for name in wanted})


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
    return as_type(held if isinstance(held, pa.Array) else to_arrow(held, name), wanted, f"{file}: column {name}")
