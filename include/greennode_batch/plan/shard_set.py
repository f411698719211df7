"""Shard set: the shards of a run while it is built. Each request goes into one shard, and its rows with it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.plan.copied_shard import CopiedShard
from greennode_batch.plan.open_shard import OpenShard
from greennode_batch.plan.repeated_requests import PutAside, RepeatedRequests
from greennode_batch.plan.request_index import MAYBE, RequestIndex
from greennode_batch.plan.shard_file import ShardLimits
from greennode_batch.plan.source_rows import OWN_COLUMNS, write_source
from greennode_batch.plan.submitted_shards import SubmittedShard, SubmittedShards
from greennode_batch.request.request_lines import RequestLines
from greennode_batch.source.column_types import settle, unify
from greennode_batch.staging.folders import RunFolder, ShardFolder, copy_file, land
from greennode_batch.staging.parquet import read_table
from greennode_batch.state.plan import PlannedShard

log = logging.getLogger(__name__)

MAX_COPIED_ROWS = 50_000
"""Rows of a copied shard, which a table receives in one transaction. A few thousand more are possible."""


class ShardSet:
    """Collects requests and rows into shards.

    Holds a few thousand rows of each shard, the latest ids and a filter of fixed size.

    submitted: shards that stay as they are.
    work: a folder for unfinished files.
    pilot_requests: how many requests the first new shard has at most; 0 for as many as any.
    max_tokens: by model, how many prompt tokens a new shard has at most, by estimate.
    """

    def __init__(
        self,
        run: RunFolder,
        work: Path,
        limits: ShardLimits,
        submitted: SubmittedShards,
        *,
        pilot_requests: int = 0,
        max_tokens: Mapping[str, int] | None = None,
    ) -> None:
        self._run = run
        self._work = work
        self._limits = limits
        self._pilot_requests = pilot_requests
        self._max_tokens = max_tokens or {}
        self._pilot: OpenShard | None = None
        self._shards: list[SubmittedShard | OpenShard] = [*submitted.shards]
        self._index = RequestIndex(submitted.indexes_of)
        self._repeated = RepeatedRequests(work)
        self._open: dict[str, tuple[int, OpenShard]] = {}  # model -> its open shard, with the index
        self._copied: list[CopiedShard] = []
        self._open_copied: dict[tuple[str, tuple[str, ...]], CopiedShard] = {}  # by model and targets
        self._sources: list[tuple[Path, ShardFolder]] = []
        self._stored: list[ShardFolder] = []

    def add(self, requests: RequestLines, rows: pa.Table, unsent: Collection[int]) -> RequestLines:
        """Put requests into shards and each row beside its request; return the requests that no earlier row had.

        rows: as source.parquet has them.
        unsent: the indexes of rows that are not sent.
        """
        earlier = self._index.indexes_of(requests.custom_ids)
        count = len(requests.custom_ids)
        new = [number for number in range(count) if number not in earlier and number not in unsent]
        # Equal requests are sent once: the other rows share the answer, at no cost.
        requested = requests.first(new)
        put = self._put(requested)
        if requested is requests:
            self._put_rows(rows, put)
            return requested
        index_of = dict(zip(requested.custom_ids, put, strict=True))
        indexes = [earlier.get(number, index_of.get(one, MAYBE)) for number, one in enumerate(requests.custom_ids)]
        for number in unsent:
            indexes[number] = self._any_index(requests.model)
        self._put_rows(rows, indexes)
        aside = [number for number, index in enumerate(indexes) if index == MAYBE]
        if aside:
            self._repeated.add(PutAside(rows.take(aside), requests.chosen(aside)))
        return requested

    def copy(self, rows: pa.Table, answers: pa.Table, model: str, into: tuple[str, ...]) -> None:
        """Put rows that need no request into separate shards.

        rows: as source.parquet has them.
        answers: what one target stores for each.
        into: the ids of the targets that get them.
        """
        copied = self._open_copied.get((model, into))
        if copied is None or len(copied.rows) >= MAX_COPIED_ROWS:
            copied = CopiedShard(model, into, self._work, f"copied-{len(self._copied):06}")
            self._copied.append(copied)
            self._open_copied[model, into] = copied
        copied.add(rows, answers)

    def finish(self, typed: Collection[str] | None = None) -> list[PlannedShard]:
        """Close all shards and write their source files with one common schema. Submitted shards come first.

        typed: the columns whose types the source gives; None for all.
        """
        for together in self._repeated.take():
            self._settle(together)
        for model in list(self._open):
            self._close(model)
        for shard in self._shards:
            shard.rows.close()
        for copied in self._copied:
            copied.close(self._run)
        shards: list[SubmittedShard | OpenShard | CopiedShard] = [*self._shards, *self._copied]
        unified = unify([part for shard in shards for part in shard.schemas()])
        schema = settle(unified, typed)
        untyped = [field.name for field in unified if pa.types.is_null(field.type) and field.name not in OWN_COLUMNS]
        if untyped:
            log.warning(
                "The source has no type for %s, and every value is NULL: stored as text. Cast the column in the query, "
                "or declare its type",
                ", ".join(untyped),
            )
        for index, built in enumerate(shards):
            folder = self._run.shard(built.shard_id)
            if built.is_stored_as(schema):
                self._stored.append(folder)
            else:
                made = self._work / f"{index:06}.source.parquet"
                with built.files() as files:
                    write_source(files, schema, made)
                self._sources.append((made, folder))
        return [built.planned() for built in shards]

    @property
    def pilot(self) -> str | None:
        """The shard that is sent before all others, once it is closed; None where there is none."""
        return self._pilot.shard_id if self._pilot is not None and self._pilot.planned().requests else None

    def land_sources(self, turn: int) -> None:
        """Move the source files to staging. With the plan of this turn, they define the rows of each shard."""
        for made, shard in self._sources:
            land(made, shard.source_of(turn))
        for shard in self._stored:
            copy_file(shard.source, shard.source_of(turn))

    def _put(self, new: RequestLines) -> list[int]:
        """Put new requests into shards, and return the shard's index for each."""
        put: list[int] = []
        while len(put) < len(new.custom_ids):
            begin = len(put)
            index, shard = self._shard_for(new.model)
            count = shard.take(new, begin)
            self._index.add(new.custom_ids[begin : begin + count], index)
            put += [index] * count
            if len(put) < len(new.custom_ids):
                self._close(new.model)
        return put

    def _put_rows(self, rows: pa.Table, indexes: Sequence[int]) -> None:
        """Put rows beside the shards that answer them."""
        distinct = set(indexes)
        for index in distinct - {MAYBE}:
            chosen = rows if len(distinct) == 1 else rows.filter(pa.array([one == index for one in indexes]))
            self._shards[index].rows.add(chosen)

    def _settle(self, together: Sequence[PutAside]) -> None:
        """Find the shards of requests that may be repetitions, and put those that are new into shards."""
        wanted = pa.concat_arrays([chunk for some in together for chunk in some.rows["custom_id"].chunks]).unique()
        found: dict[str, int] = {}
        for index, shard in enumerate(self._shards):
            with shard.files() as files:
                for path in files:
                    requested = read_table(path, ["custom_id"])["custom_id"]
                    hits = requested.filter(pc.is_in(requested, value_set=wanted))
                    found.update(dict.fromkeys(hits.to_pylist(), index))
        for some in together:
            custom_ids = some.requests.custom_ids
            new = [number for number, custom_id in enumerate(custom_ids) if custom_id not in found]
            requested = some.requests.first(new)
            found.update(zip(requested.custom_ids, self._put(requested), strict=True))
            self._put_rows(some.rows, [found[custom_id] for custom_id in custom_ids])

    def _any_index(self, model: str) -> int:
        """The index of a shard for a row that is not sent. Any shard will do, because the row is joined to no result.

        A shard without requests is created only if there is no other; two would have the same bytes, and so the same
        folder.
        """
        if not self._shards:
            self._shard_for(model)
        return len(self._shards) - 1

    def _shard_for(self, model: str) -> tuple[int, OpenShard]:
        """The open shard of the model, and its index."""
        if model not in self._open:
            index = len(self._shards)
            limits = self._limits
            is_pilot = bool(self._pilot_requests) and self._pilot is None
            if is_pilot:
                limits = limits._replace(max_requests=min(limits.max_requests, self._pilot_requests))
            shard = OpenShard(model, self._work, f"{index:06}", limits, max_prompt_tokens=self._max_tokens.get(model))
            self._pilot = shard if is_pilot else self._pilot
            self._shards.append(shard)
            self._open[model] = index, shard
        return self._open[model]

    def _close(self, model: str) -> None:
        _, shard = self._open.pop(model)
        shard.close(self._run)
