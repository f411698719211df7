"""Split: split.json, the halves that are sent in place of a shard that is larger than the server's limit.

    splits/<shard_id>.json            beside shards/: the shard may be split, so that one list finds all of an attempt
    shards/<shard_id>/split.json      its halves, once both are whole

A half is a shard of requests alone, like those of a later attempt: the rows stay with the shard that was split, and
are joined to the results of its halves. A half that is too large as well is split in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from upath import UPath

from greennode_batch.staging.folders import RunFolder, ShardFolder, fresh_names, read_json, write_json
from greennode_batch.state.document import Document
from greennode_batch.wording import counted

_SUFFIX = ".json"


class Half(msgspec.Struct, frozen=True):
    """One of the batch files that a shard was split into."""

    shard_id: str
    requests: int
    bytes: int
    prompt_tokens: int
    """An estimate: the shard's tokens, by the share of its bytes."""


class Split(Document, frozen=True):
    """split.json: the shard is never sent, but its halves are."""

    halves: tuple[Half, ...]
    prompt_tokens: int
    """Of the shard, as estimated."""
    limit: int
    """The most prompt tokens that a batch may have, by what is known."""
    words: str
    """Why the shard is too large, with the server's message."""
    split_at: float
    """Epoch seconds."""


class SplitBegun(Document, frozen=True):
    """splits/<shard_id>.json: the shard may be split; its split.json decides. The fields are those of Split."""

    prompt_tokens: int
    limit: int
    words: str


def split_summary(shards: int, limit: int) -> str:
    """How many shards of a run were split, in words. limit: the lowest that any of them was larger than."""
    return (
        f"{counted(shards, 'shard was', 'shards were')} larger than one batch may be, with a limit of about {limit:,} "
        "enqueued prompt tokens, and split at no cost"
    )


def read_split(shard: ShardFolder) -> Split | None:
    """How a shard was split, or None if it was not."""
    return read_json(shard.split, Split)


def note_split_begun(shard: ShardFolder, begun: SplitBegun) -> None:
    """Note that a shard may be split, before anything else about its split is written."""
    write_json(_begun_path(shard), begun)


def read_split_begun(shard: ShardFolder) -> SplitBegun | None:
    """What was noted of a shard that may be split."""
    return read_json(_begun_path(shard), SplitBegun)


def _begun_path(shard: ShardFolder) -> UPath:
    return shard.run.splits(shard.attempt) / f"{shard.shard_id}{_SUFFIX}"


def splits_of(run: RunFolder, attempt: int) -> dict[str, Split]:
    """How shards of an attempt were split, by the id of the shard. Costs one list while none was."""
    begun = (name.removesuffix(_SUFFIX) for name in fresh_names(run.splits(attempt)) if name.endswith(_SUFFIX))
    found = {shard_id: read_split(run.shard(shard_id, attempt=attempt)) for shard_id in sorted(begun)}
    return {shard_id: split for shard_id, split in found.items() if split is not None}


def parts_in(splits: Mapping[str, Split], shard_id: str) -> Iterator[Half]:
    """The halves, and halves of halves, that are sent in place of a shard; none if it was not split."""
    split = splits.get(shard_id)
    for half in split.halves if split is not None else ():
        yield from parts_in(splits, half.shard_id) if half.shard_id in splits else (half,)


def halves_of(shard: ShardFolder) -> list[ShardFolder]:
    """The folders of a shard's halves; empty if it was not split."""
    split = read_split(shard)
    return [shard.run.shard(half.shard_id, attempt=shard.attempt) for half in split.halves] if split else []


def rowless_halves_of(shard: ShardFolder) -> list[ShardFolder]:
    """Those of its halves that stand for it in a build: a half with rows was planned as a shard by itself."""
    return [half for half in halves_of(shard) if not half.source.exists()]


def parts_of(shard: ShardFolder) -> list[ShardFolder]:
    """The shards that are sent in place of a shard; the shard itself if it was not split."""
    halves = halves_of(shard)
    return [part for half in halves for part in parts_of(half)] or [shard]


def wholes_of(shard: ShardFolder) -> list[ShardFolder]:
    """The shards that a shard is a half of. Two builds of a run may have split different shards into the same half."""
    run, attempt = shard.run, shard.attempt
    return [
        run.shard(shard_id, attempt=attempt)
        for shard_id, split in splits_of(run, attempt).items()
        if any(half.shard_id == shard.shard_id for half in split.halves)
    ]


def half_of(shard: ShardFolder) -> Half | None:
    """What is known of a shard that is a half of another one; None if it is not."""
    splits = splits_of(shard.run, shard.attempt).values()
    return next((half for split in splits for half in split.halves if half.shard_id == shard.shard_id), None)
