"""Shard model: the model that a shard's requests are for, by the first of them."""

from __future__ import annotations

import sys

import msgspec

from greennode_batch.api.results.result_lines import iter_lines
from greennode_batch.staging.folders import ShardFolder, local_copy


class _Body(msgspec.Struct):
    model: str


class _FirstLine(msgspec.Struct):
    body: _Body


_first_line = msgspec.json.Decoder(_FirstLine)


def model_of(shard: ShardFolder) -> str:
    """The model that a shard's requests are for."""
    with local_copy(shard.requests) as path, path.open("rb") as file:
        return _first_line.decode(next(iter_lines(file, max_bytes=sys.maxsize))).body.model
