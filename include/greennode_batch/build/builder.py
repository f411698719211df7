"""The builder: source rows go in one by one, shards come out, each beside the rows that it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greennode_batch.api.profile import ApiProfile
from greennode_batch.build.column_types import settle, unify
from greennode_batch.build.kept_shards import KeptShard, KeptShards
from greennode_batch.build.keys import Key, Keys
from greennode_batch.build.messages import chat_messages, request_params
from greennode_batch.build.open_shard import OpenShard, PlannedShard
from greennode_batch.build.repeated_requests import PutAside, RepeatedRequests
from greennode_batch.build.request_index import MAYBE, RequestIndex
from greennode_batch.build.request_lines import RequestLines, RequestTemplate, line_fields
from greennode_batch.build.shards import shard_limits
from greennode_batch.build.source import RowBatch
from greennode_batch.build.source_rows import source_rows, write_source
from greennode_batch.errors import RowError
from greennode_batch.job import BatchJob
from greennode_batch.staging import RunFolder, ShardFolder, land

_HELD_BYTES = 16 << 20


class LongestRequest(msgspec.Struct, frozen=True):
    """The longest line of a run, and the row that asks it."""

    bytes: int
    row: str


class Builder:
    """Rows -> shards in one pass. Holds one batch of rows, the latest requests' ids and two filters of fixed size.

    kept: shards that stay as they are; rows that lie there already are not asked again.
    """

    def __init__(
        self,
        job: BatchJob,
        columns: Sequence[str],
        run: RunFolder,
        work: Path,
        *,
        profile: ApiProfile,
        kept: KeptShards,
    ) -> None:
        self._run = run
        self._work = work
        self._limits = shard_limits(job, profile)
        messages = chat_messages(job, profile)
        self.prompt_hash = hashlib.blake2b(msgspec.json.encode(messages), digest_size=16).hexdigest()
        self._templates = [
            RequestTemplate(
                model=model,
                messages=messages,
                params=request_params(job, profile),
                columns=columns,
                line_fields=line_fields(profile),
                prompt_name=f"prompt of job {job.name}",
            )
            for model in job.models
        ]
        self._key_names = job.key_columns
        self._keys = Keys(job.key_columns, work)
        self._carried_names = (*job.key_columns, *job.carry)
        self._kept = kept
        self._shards: list[KeptShard | OpenShard] = [*kept.shards]
        self._index = RequestIndex(kept.shard_of)
        self._repeated = RepeatedRequests(work)
        self._open: dict[str, tuple[int, OpenShard]] = {}  # model -> the shard that is open for it, and its place
        self._sources: list[tuple[Path, ShardFolder]] = []
        self.unsent = kept.unsent
        self.longest = LongestRequest(0, "")

    def add(self, batch: RowBatch) -> None:
        """A batch of source rows. Raises RowError, naming the row."""
        keys = self._keys.add(batch)
        known: Sequence[Container[str]] = [()] * len(batch)
        if self._kept.shards:
            known = list(self._kept.models_of([batch.values(name) for name in self._key_names]))
        for template in self._templates:
            new = [number for number, models in enumerate(known) if template.model not in models]
            # Where the constant part is long, all lines of a batch were too much to hold.
            step = max(1, _HELD_BYTES // template.constant_bytes)
            for start in range(0, len(new), step):
                some = new[start : start + step]
                rows = batch if len(some) == len(batch) else batch.take(some)
                self._ask(template, rows, [keys[number] for number in some])

    def finish(self) -> list[PlannedShard]:
        """Close what is open, settle one schema for all source files, and make them: the kept shards come first."""
        self._keys.finish()
        for together in self._repeated.take():
            self._settle(together)
        for model in list(self._open):
            self._close(model)
        for shard in self._shards:
            shard.rows.close()
        schema = settle(unify([part for shard in self._shards for part in shard.schemas()]))
        for place, shard in enumerate(self._shards):
            if not shard.is_stored_as(schema):
                made = self._work / f"{place:06}.source.parquet"
                with shard.files() as files:
                    write_source(files, schema, made)
                self._sources.append((made, self._run.shard(shard.shard_id)))
        return [shard.planned() for shard in self._shards]

    def land_sources(self) -> None:
        """Put the source files into their places: what the rows of a shard are is settled with this."""
        for made, shard in self._sources:
            land(made, shard.source)

    def _ask(self, template: RequestTemplate, batch: RowBatch, keys: Sequence[Key]) -> None:
        """A request for each row of a batch, or a reason why not."""
        try:
            requests = template.requests(batch)
        except RowError as error:
            row = self._keys.named(keys[error.row or 0])
            raise RowError(f"{row}: {error}. Nothing was sent") from None
        unsent = self._unsent(requests)
        places = self._places(template, requests, keys, unsent)
        custom_ids: Sequence[str | None] = requests.custom_ids
        reasons: Sequence[str | None] = [None] * len(batch)
        if unsent:
            self.unsent += len(unsent)
            custom_ids = [None if place in unsent else custom_id for place, custom_id in enumerate(custom_ids)]
            reasons = [unsent.get(place) for place in range(len(batch))]
        kept = [batch.array(name) for name in self._carried_names]
        rows = source_rows(self._carried_names, kept, template.model, custom_ids, reasons)
        self._put_rows(rows, places)
        if MAYBE in places:
            aside = [number for number, place in enumerate(places) if place == MAYBE]
            self._repeated.add(PutAside(rows.take(aside), requests.chosen(aside)))

    def _places(
        self, template: RequestTemplate, requests: RequestLines, keys: Sequence[Key], unsent: Mapping[int, str]
    ) -> list[int]:
        """In which shard each row's request lies; what was not asked for another row is put into one."""
        known = self._index.places_of(requests.custom_ids)
        new = [number for number, place in enumerate(known) if place is None and number not in unsent]
        # Of equal requests the first; the other rows join its answer, and nothing is paid.
        first = {requests.custom_ids[number]: number for number in reversed(new)}
        asked = sorted(first.values())
        if asked:
            longest = max(asked, key=lambda number: len(requests.lines[number]))
            if len(requests.lines[longest]) > self.longest.bytes:
                row = self._keys.named(keys[longest]).removeprefix("row ")
                self.longest = LongestRequest(len(requests.lines[longest]), row)
        put = self._put(template, requests.chosen(asked))
        places = [
            put.get(custom_id, MAYBE) if place is None else place
            for custom_id, place in zip(requests.custom_ids, known, strict=True)
        ]
        for number in unsent:
            places[number] = self._any_place(template.model)
        return places

    def _unsent(self, requests: RequestLines) -> dict[int, str]:
        """Rows that are not sent, by place, and why not."""
        unsent = {}
        most = self._limits.max_bytes
        for row, line in enumerate(requests.lines) if max(map(len, requests.lines)) > most else ():
            if len(line) > most:
                unsent[row] = f"the request has {len(line):,} bytes; a whole file may have {most:,}"
        return unsent | dict.fromkeys(requests.blank, "the prompt is empty")

    def _put(self, template: RequestTemplate, new: RequestLines) -> dict[str, int]:
        """Put new requests into shards; the place of each one's shard."""
        put: dict[str, int] = {}
        while len(put) < len(new.custom_ids):
            begin = len(put)
            place, shard = self._shard_for(template.model)
            count = shard.take(
                new.lines[begin:], characters=new.characters[begin:], constant_bytes=template.constant_bytes
            )
            taken = new.custom_ids[begin : begin + count]
            self._index.add(taken, place)
            put.update(dict.fromkeys(taken, place))
            if len(put) < len(new.custom_ids):
                self._close(template.model)
        return put

    def _put_rows(self, rows: pa.Table, places: Sequence[int]) -> None:
        """Put rows beside the shards that answer them."""
        distinct = set(places)
        for place in distinct - {MAYBE}:
            chosen = rows if len(distinct) == 1 else rows.filter(pa.array([one == place for one in places]))
            self._shards[place].rows.add(chosen)

    def _settle(self, together: Sequence[PutAside]) -> None:
        """Find the shards of requests that may have been asked long before; what was not is asked."""
        wanted = pa.concat_arrays([chunk for some in together for chunk in some.rows["custom_id"].chunks]).unique()
        found: dict[str, int] = {}
        for place, shard in enumerate(self._shards):
            with shard.files() as files:
                for path in files:
                    asked = pq.read_table(path, columns=["custom_id"])["custom_id"]
                    hits = asked.filter(pc.is_in(asked, value_set=wanted))
                    found.update(dict.fromkeys(hits.to_pylist(), place))
        templates = {template.model: template for template in self._templates}
        for some in together:
            template = templates[some.rows["model"][0].as_py()]
            custom_ids = some.requests.custom_ids
            new = [number for number, custom_id in enumerate(custom_ids) if custom_id not in found]
            asked = sorted({custom_ids[number]: number for number in reversed(new)}.values())
            found.update(self._put(template, some.requests.chosen(asked)))
            self._put_rows(some.rows, [found[custom_id] for custom_id in custom_ids])

    def _any_place(self, model: str) -> int:
        """A shard for a row that is not sent: any will do, for such a row is joined to nothing.

        One without requests is made only where there is no other; two would have the same bytes, and so the same
        folder.
        """
        if not self._shards:
            self._shard_for(model)
        return len(self._shards) - 1

    def _shard_for(self, model: str) -> tuple[int, OpenShard]:
        """The shard that is open for the model, and its place."""
        if model not in self._open:
            place = len(self._shards)
            shard = OpenShard(model, self._work, f"{place:06}", self._limits)
            self._shards.append(shard)
            self._open[model] = place, shard
        return self._open[model]

    def _close(self, model: str) -> None:
        _, shard = self._open.pop(model)
        shard.close(self._run)
