"""Partitions: rows parted by the values of some columns, each part with the folder that Hive would give it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.errors import ConfigError
from greennode_batch.source.formats.file_listing import NULL_PARTITION, folder_values
from greennode_batch.wording import given_by

MAX_PARTITIONS = 1_000
"""Partitions of one shard. More make files of a few rows each, which are slow to write and slower to query."""

_MAX_NAME_BYTES = 255
# Spark takes %C3%A9 for two characters, so what is not ASCII stands as it is.
_ESCAPED = re.compile(r"[\x00-\x7f]", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]")


def partitions(
    rows: pa.Table, by: Sequence[str], is_wanted: Callable[[str], bool] = lambda _folder: True
) -> Iterator[tuple[str, pa.Table]]:
    """Each partition's folder (`day=2026-01-31/tenant=a%2Fb`, empty without columns) and its rows, less these columns.

    is_wanted: asked for each folder before any is given. NULL and an empty text are one partition, as in Hive. Raises
    ConfigError for more than MAX_PARTITIONS.
    """
    if not by:
        if is_wanted(""):
            yield "", rows
        return
    columns = [pc.fill_null(rows[name].cast(pa.string()), "").combine_chunks().dictionary_encode() for name in by]
    numbers = np.zeros(rows.num_rows, np.int64)
    for column in columns:
        # Numbered anew with each column, so that they stay small.
        pairs = numbers * len(column.dictionary) + column.indices.to_numpy(zero_copy_only=False)
        _, first, numbers = np.unique(pairs, return_index=True, return_inverse=True)
    check_count(len(first), by)
    order = np.argsort(numbers, kind="stable")
    counts = np.bincount(numbers, minlength=len(first))
    folders = [
        "/".join(_folder(name, column[int(row)].as_py()) for name, column in zip(by, columns, strict=True))
        for row in first
    ]
    wanted = np.array([is_wanted(folder) for folder in folders], np.bool_)
    # One `take` for all: each of a thousand would cost as much.
    kept = rows.drop_columns(list(by)).take(pa.array(order[np.repeat(wanted, counts)]))
    start = 0
    for folder, count in itertools.compress(zip(folders, counts.tolist(), strict=True), wanted):
        yield folder, kept.slice(start, count)
        start += count


def check_count(count: int, by: Sequence[str]) -> None:
    """Raise ConfigError for more partitions than a shard may have."""
    if count > MAX_PARTITIONS:
        raise ConfigError(
            f"{given_by('partition_by')} {', '.join(by)} cuts one shard into {count:,} partitions of a file each; at "
            f"most {MAX_PARTITIONS:,} make sense. Take columns of fewer values (a day, a country, never a key alone) "
            "and run this step again; nothing is paid twice"
        )


def partition_values(folder: str) -> dict[str, str | None]:
    """The columns and values that a partition's folder names; None for NULL or an empty text."""
    return folder_values(PurePosixPath(folder))


def _folder(name: str, value: str) -> str:
    folder = f"{_escaped(name)}={_escaped(value) if value else NULL_PARTITION}"
    if len(folder.encode()) > _MAX_NAME_BYTES:
        raise ConfigError(
            f"{given_by('partition_by')} {name}: the value {value[:40]!r}… is too long for a folder's name, which may "
            f"have {_MAX_NAME_BYTES} bytes. Take a column of shorter values and run this step again; nothing is paid "
            "twice"
        )
    return folder


def _escaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: found[0] if _PLAIN.match(found[0]) else f"%{ord(found[0]):02X}", text)
