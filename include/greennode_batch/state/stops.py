"""Stops: stops/<name>.json, why nothing more of a run, or of one of its models, is sent until a person has acted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Literal

from upath import UPath

from greennode_batch.staging.folders import RunFolder, ShardFolder, fresh_names, read_json, write_json
from greennode_batch.state.document import Document

_FOLDER = "stops"


class Stop(Document, frozen=True):
    """stops/<name>.json: results that could not be read, or a model that fails systematically.

    model: the only one that it is about; None for all of the run. shard_id, attempt: where it was found out. words: the
    error's. samples: the first lines of the result files, or what some requests ended with. noted_at: epoch seconds.
    """

    kind: Literal["unread_results", "systematic_failure"]
    model: str | None
    shard_id: str
    attempt: int
    words: str
    samples: tuple[str, ...]
    noted_at: float


def unread_path(shard: ShardFolder) -> UPath:
    """Where it is noted that a shard's results could not be read."""
    return stops_folder(shard) / f"unread-{shard.attempt}-{shard.shard_id}.json"


def failing_path(shard: ShardFolder, model: str) -> UPath:
    """Where it is noted that a shard's model fails systematically."""
    return stops_folder(shard) / f"failing-{hashlib.blake2b(model.encode(), digest_size=8).hexdigest()}.json"


def stops_folder(shard: ShardFolder) -> UPath:
    """Where the stops lie that a shard heeds: those of its run, or its own where it is in no run."""
    return (shard.run.path if is_in_run(shard) else shard.path) / _FOLDER


def is_in_run(shard: ShardFolder) -> bool:
    """Whether a shard's folder is one of a run's. A folder with requests alone may lie anywhere."""
    return shard.path.parent.name == "shards"


def note_stop(path: UPath, stop: Stop) -> None:
    """Write a stop down."""
    write_json(path, stop)


def lift_stop(path: UPath) -> None:
    """Take a stop back: what it was about is put right."""
    if path.name in fresh_names(path.parent):
        path.unlink(missing_ok=True)


def stops_in(folder: UPath) -> Iterator[Stop]:
    """The stops that stand, by their names."""
    for name in sorted(fresh_names(folder)):
        stop = read_json(folder / name, Stop) if name.endswith(".json") else None
        if stop is not None:
            yield stop


def stops_of(run: RunFolder) -> list[Stop]:
    """The stops of a run that stand."""
    return list(stops_in(run.path / _FOLDER))
