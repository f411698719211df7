"""Partitions: rows split by the values of some columns, each part with its folder in Hive's format."""

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
"""The most partitions of one shard. More would give files of a few rows, slow to write and slower to query."""

_MAX_NAME_BYTES = 255
# Spark reads %C3%A9 as two characters, so characters beyond ASCII are not escaped.
_ESCAPED = re.compile(r"[\x00-\x7f]", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]")


def partitions(
    rows: pa.Table, by: Sequence[str], is_wanted: Callable[[str], bool] = lambda _folder: True
) -> Iterator[tuple[str, pa.Table]]:
    """Yield each partition's folder and its rows without the partition columns.

    A folder is `day=2026-01-31/tenant=a%2Fb`, or empty without columns. is_wanted: called for every folder before the
    first one is yielded. NULL and an empty text are one partition, as in Hive. Raises ConfigError for more than
    MAX_PARTITIONS.
    """
    if not by:
        if is_wanted(""):
            yield "", rows
        return
    columns = [pc.fill_null(rows[name].cast(pa.string()), "").combine_chunks().dictionary_encode() for name in by]
    numbers = np.zeros(rows.num_rows, np.int64)
    for column in columns:
        # Renumbered after each column, so that the numbers stay small.
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
    # One `take` for all partitions: a thousand of them would each cost as much.
    kept = rows.drop_columns(list(by)).take(pa.array(order[np.repeat(wanted, counts)]))
    start = 0
    for folder, count in itertools.compress(zip(folders, counts.tolist(), strict=True), wanted):
        yield folder, kept.slice(start, count)
        start += count


def check_count(count: int, by: Sequence[str]) -> None:
    """Raise ConfigError for more partitions than a shard may have."""
    if count > MAX_PARTITIONS:
        raise ConfigError(
            f"{given_by('partition_by')} {', '.join(by)} splits one shard into {count:,} partitions with a file each; "
            f"the limit is {MAX_PARTITIONS:,}. Use columns with fewer values (a day, a country, never a key alone) and "
            "run this step again; nothing is paid twice"
        )


def partition_values(folder: str) -> dict[str, str | None]:
    """The columns and values in a partition folder's name; None for NULL or an empty text."""
    return folder_values(PurePosixPath(folder))


def _folder(name: str, value: str) -> str:
    folder = f"{_escaped(name)}={_escaped(value) if value else NULL_PARTITION}"
    if len(folder.encode()) > _MAX_NAME_BYTES:
        raise ConfigError(
            f"{given_by('partition_by')} {name}: the value {value[:40]!r}… is too long for a folder's name, which may "
            f"have {_MAX_NAME_BYTES} bytes. Use a column with shorter values and run this step again; nothing is paid "
            "twice"
        )
    return folder


def _escaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: found[0] if _PLAIN.match(found[0]) else f"%{ord(found[0]):02X}", text)
