"""The files of a source: which files a path names, in what order and format, and how to open them."""

from __future__ import annotations

import gzip
import io
import logging
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast
from urllib.parse import unquote

import pyarrow as pa
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.job.file_types import DEFAULT_DIALECT, FORMATS, CsvDialect, FileFormat
from greennode_batch.source.partition import WHOLE, Part
from greennode_batch.staging.folders import local_path, uncached
from greennode_batch.staging.stores import refusals
from greennode_batch.wording import counted, given_by

log = logging.getLogger(__name__)

_GZIP = ".gz"
_STREAM_BYTES = 4 << 20
_SHOWN_SKIPPED = 10
# Markers, documents and the like, which are no rows in any format.
_FOREIGN = re.compile(
    r"(readme|license|licence|notice|copying|changelog|authors|makefile|dockerfile|manifest)(\..*)?"
    r"|(.*[._-])?manifest\.json|(metadata|schema|dataset_infos?|datapackage|package)\.json|.*\.metadata\.json"
    r"|.*_\$folder\$|thumbs\.db|desktop\.ini|ehthumbs\.db|icon\r|.*~|~\$.*|.*#"
    r"|.*\.(crc|md5|sha1|sha256|sha512|sum|sig|asc|lock|done|ok|success|tmp|temp|crdownload|inprogress"
    r"|swp|bak|old|orig|md|markdown|rst|adoc|html?|pdf|docx?|rtf|pptx?|png|jpe?g|gif|svg|webp|ico"
    r"|py|ipynb|r|sh|bat|sql|ya?ml|toml|ini|cfg|conf|xml|xsd|avsc|proto)",
    re.IGNORECASE,
)
_OTHER_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9_-]*$")
# Hive and Spark write this for a partition whose value is NULL.
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class SourceFile:
    """One file of a source."""

    path: UPath | Path
    name: str
    """Its path below the source's folder; empty if the source is this single file."""
    format: FileFormat
    partitions: Mapping[str, str | None]
    """The columns that its folders define (`day=2026-01-31`), in order, with their values."""
    part: Part = WHOLE
    """Which row groups of a Parquet file to read."""
    dialect: CsvDialect = DEFAULT_DIALECT
    """How it is written, if it is CSV."""

    def __str__(self) -> str:
        return str(self.path)

    @contextmanager
    def seekable(self) -> Iterator[BinaryIO]:
        """Open the file for a reader that seeks. In an object store, each read requests only the bytes it needs."""
        with self._errors(), self._open(cache_type="none") as file:
            yield file

    @contextmanager
    def stream(self) -> Iterator[BinaryIO]:
        """Open the file as a stream of decompressed bytes. Holds a few megabytes."""
        with self._errors(), ExitStack() as stack:
            file = stack.enter_context(self._open(cache_type="readahead", block_size=_STREAM_BYTES))
            if self.path.name.endswith(_GZIP):
                file = cast("BinaryIO", stack.enter_context(gzip.GzipFile(fileobj=file)))
            yield stack.enter_context(cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", file), _STREAM_BYTES)))

    @contextmanager
    def _open(self, **options: object) -> Iterator[BinaryIO]:
        local = local_path(self.path)
        if local is not None:
            with local.open("rb") as file:
                yield file
            return
        assert isinstance(self.path, UPath)
        with refusals(self.path), self.path.fs.open(self.path.path, "rb", **options) as file:
            yield file

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors in the file into ConfigError with its name; network and disk errors pass unchanged."""
        try:
            yield
        except FileNotFoundError:
            raise ConfigError(f"{self}: no such file. Nothing was sent") from None
        except PermissionError as error:
            raise ConfigError(f"{self}: permission to read it is denied ({error}). Nothing was sent") from error
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ConfigError(f"{self}: is damaged, or not a gzip file ({error}). Nothing was sent") from error
        except (pa.ArrowException, OSError) as error:
            # Arrow reports unreadable content as a plain OSError without a number; errors of a disk or network have a
            # number or a narrower type.
            if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
                raise
            what = "Parquet" if self.format == "parquet" else self.format.upper()
            raise ConfigError(
                f"{self}: cannot be read as {what} ({_one_line(error)}); fix the file, or name its format with "
                f"{given_by('format', 'format=')}. Nothing was sent"
            ) from error


def source_files(path: UPath | Path, file_format: FileFormat | None = None) -> list[SourceFile]:
    """List the file that a path names, or all files of rows below a folder, sorted by name.

    Hidden files, markers, documents and other foreign files are left out, and counted in the log.
    file_format: the format of files whose names do not tell; files whose names tell another format are then left out.

    Raises ConfigError if there is no file, or if files have different formats.
    """
    found = _names_below(path)
    if found is None:
        return [SourceFile(path, "", file_format or _format_of(path, path.name), {})]
    names = _names_of_rows(found, file_format)
    if len(names) < len(found):
        skipped = sorted({*found}.difference(names))
        log.info(
            "%s: skipped %s that no rows are read from: %s%s",
            path,
            counted(len(skipped), "file"),
            ", ".join(skipped[:_SHOWN_SKIPPED]),
            ", …" if len(skipped) > _SHOWN_SKIPPED else "",
        )
    if not names:
        what = f"{file_format} file" if file_format else "file"
        raise ConfigError(f"{path}: there is no {what} in this folder. Nothing was sent")
    files = [
        SourceFile(
            path / name, name, file_format or _format_of(path / name, name), folder_values(PurePosixPath(name).parent)
        )
        for name in names
    ]
    for file in files:
        if file.format != files[0].format:
            raise ConfigError(
                f"{path}: holds files of two formats, {files[0]} and {file}; choose one of them with "
                f"{given_by('format', 'format=')}. Nothing was sent"
            )
    return files


def _names_of_rows(found: Sequence[str], file_format: FileFormat | None) -> list[str]:
    """Choose the files of rows, by their names."""
    names = [name for name in found if not _is_hidden(name) and not _is_foreign(name)]
    if file_format is not None:
        names = [name for name in names if _ending_format(name) in {None, file_format}]
    formats = {_ending_format(name) for name in names} - {None}
    if formats == {"parquet"}:
        # Writers of Parquet name it so; a file with another ending beside it is something else.
        names = [name for name in names if _ending_format(name) or not _OTHER_ENDING.search(name)]
    return names


def _names_below(path: UPath | Path) -> list[str] | None:
    """List the paths of the files below a folder, sorted; None if the path is a file."""
    local = local_path(path)
    if local is None:
        return _stored_below(cast("UPath", path))
    if local.is_file():
        return None
    if not local.is_dir():
        raise ConfigError(f"{path}: no such file or folder. Nothing was sent")
    names = [
        (Path(parent) / name).relative_to(local).as_posix()
        for parent, _, found in os.walk(local, followlinks=True)
        for name in found
    ]
    return sorted(names)


def _stored_below(path: UPath) -> list[str] | None:
    fs = uncached(path).fs
    try:
        with refusals(path):
            is_file = fs.info(path.path)["type"] == "file"
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file or folder. Nothing was sent") from None
    except PermissionError as error:
        raise ConfigError(f"{path}: permission to read it is denied ({error}). Nothing was sent") from error
    if is_file:
        return None
    root = fs._strip_protocol(path.path).rstrip("/") + "/"  # noqa: SLF001 - the prefix of its listings
    found = (name.removeprefix(root) for name in fs.find(root))
    return sorted(name for name in found if name and not name.endswith("/"))


def _is_foreign(name: str) -> bool:
    return _ending_format(name) is None and bool(_FOREIGN.fullmatch(PurePosixPath(name).name))


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)


def folder_values(folder: PurePosixPath) -> dict[str, str | None]:
    """Parse the columns that a folder's path defines (`day=2026-01-31`); the value is None for NULL."""
    pairs = (part.partition("=") for part in folder.parts)
    return {
        unquote(column): None if value == NULL_PARTITION else unquote(value)
        for column, is_one, value in pairs
        if is_one and column
    }


def _ending_format(name: str) -> FileFormat | None:
    return FORMATS.get(PurePosixPath(name.lower().removesuffix(_GZIP)).suffix)


def _format_of(path: UPath | Path, name: str) -> FileFormat:
    found = _ending_format(name)
    if found is None:
        said = given_by("format", "format='parquet', 'csv', 'tsv' or 'jsonl'", value="parquet, csv, tsv or jsonl")
        raise ConfigError(
            f"{path}: its name does not tell its format; set {said} (known endings: "
            f"{', '.join(FORMATS)}), or move it out of the folder if it holds no rows. Nothing was sent"
        )
    return found


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
