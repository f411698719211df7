"""Builder: turns batches of source rows into requests, or records why a row is not sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import RowError
from greennode_batch.incremental.all_targets import Copies
from greennode_batch.incremental.row_hashes import RowHashes, with_model
from greennode_batch.incremental.target_lookup import TargetLookup
from greennode_batch.incremental.unchanged_rows import UnchangedRows
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.columns import SAMPLE
from greennode_batch.plan.shard_file import shard_limits
from greennode_batch.plan.shard_set import ShardSet
from greennode_batch.plan.source_rows import source_rows
from greennode_batch.plan.submitted_shards import SubmittedShards
from greennode_batch.plan.unique_keys import UniqueKeys
from greennode_batch.request.job_request import job_request
from greennode_batch.request.request_lines import RequestLines, RequestTemplate
from greennode_batch.request.request_templates import HELD_BYTES, request_templates, requests_of
from greennode_batch.request.token_counter import token_counter
from greennode_batch.source.rows import Key, RowBatch
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.plan import LongestRequest, PlannedShard
from greennode_batch.state.row_owner import RowOwner


class _Requested(NamedTuple):
    """Requests to one model, with the row of each."""

    requests: RequestLines
    carried: pa.Table
    """The rows as staging keeps them."""
    keys: Sequence[Key]
    hashes: RowHashes | None
    """The hashes of the rows; None if no answer cache is to be written."""
    has_samples: bool
    """Whether the job asks for several samples, so that rows carry the sample's number."""

    def chosen(self, indexes: Sequence[int]) -> _Requested:
        """Select requests by their indexes."""
        if len(indexes) == len(self.keys):
            return self
        return self._replace(
            requests=self.requests.chosen(indexes),
            carried=self.carried.take(pa.array(indexes, pa.int64())),
            keys=[self.keys[index] for index in indexes],
            hashes=None if self.hashes is None else self.hashes[indexes],
        )

    def of_sample(self, number: int) -> _Requested:
        """The same requests for their first, second, … sample."""
        numbers = pa.repeat(pa.scalar(number, pa.int64()), len(self.keys))
        return self._replace(
            requests=self.requests.of_sample(number),
            carried=self.carried.append_column(SAMPLE, numbers) if self.has_samples else self.carried,
            hashes=None if self.hashes is None else with_model(self.hashes, self.requests.model, number),
        )


class Builder:
    """Turns rows into shards in one pass. Holds one batch of rows, and what UniqueKeys and ShardSet hold.

    owner: the owner of the run's rows.
    submitted: shards that stay as they are; their rows are not sent again.
    target_lookups: find what the targets hold from earlier runs; rows that they have answered are not sent again
        either.
    use_cache: whether the answer cache may tell which rows these are.
    limit: at most how many rows are sent, the first ones that have to be; rows in submitted shards count.
    max_shard_tokens: by model, how many prompt tokens a shard has at most, by estimate.
    typed: the columns whose types the source gives; None for all.
    renews: whether settled rows of runs of earlier data become the run's.
    """

    def __init__(
        self,
        job: BatchJob,
        columns: Sequence[str],
        run: RunFolder,
        work: Path,
        *,
        owner: RowOwner,
        profile: ApiProfile,
        submitted: SubmittedShards,
        target_lookups: Sequence[TargetLookup] = (),
        use_cache: bool = True,
        limit: int | None = None,
        pilot_requests: int = 0,
        max_shard_tokens: Mapping[str, int] | None = None,
        typed: Collection[str] | None = None,
        renews: bool = False,
    ) -> None:
        self._limits = shard_limits(job, profile)
        self._typed = typed
        request = job_request(job, profile)
        self.prompt_hash = request.prompt_hash
        self._templates = request_templates(job, request, columns)
        self._counter = token_counter(job)
        self._samples = range(1, job.samples + 1)
        self._key_names = job.key_columns
        self._carried_names = (*job.key_columns, *job.carry)
        self._submitted = submitted
        self._kept_ahead = submitted.rows
        self._left = None if limit is None else max(0, limit - submitted.rows)
        self.unchanged = UnchangedRows(
            job,
            run,
            work,
            target_lookups,
            columns=columns,
            names=request.names(job),
            # The limits also decide which rows are sent.
            requests=[request, self._limits.max_bytes],
            owner=owner,
            is_first=not submitted.shards,
            use_cache=use_cache,
            renews=renews,
        )
        self.keys = UniqueKeys(job.key_columns, work)
        self.shards = ShardSet(
            run, work, self._limits, submitted, pilot_requests=pilot_requests, max_tokens=max_shard_tokens
        )
        self.unsent = submitted.unsent
        self.longest = LongestRequest(0, "")

    @property
    def is_full(self) -> bool:
        """Whether as many rows are asked as the limit allows, and all that lie in kept shards have come."""
        return self._left == 0 and self._kept_ahead <= 0

    def add(self, batch: RowBatch) -> None:
        """Add a batch of source rows. Raises RowError with the row's key, and RepeatedKeyError."""
        within = batch if self._left is None else self._within_limit(batch, self._left)
        for rows, hashes in self.unchanged.others(within):
            self._add(rows, hashes)

    def finish(self) -> list[PlannedShard]:
        """Return all shards, complete. Raises RowError if a key occurs twice, ConfigError if a table cannot keep it."""
        for rows, hashes in self.unchanged.buffered():
            self._add(rows, hashes)
        self.keys.finish()
        self.unchanged.check_keys(self.keys.tables, self.keys.values)
        return self.shards.finish(self._typed)

    def _within_limit(self, batch: RowBatch, left: int) -> RowBatch:
        """A batch without the rows that are to be asked and are over the limit. Kept ones stay, whatever it is."""
        columns = [batch.values(name) for name in self._key_names]
        is_kept = np.zeros(len(batch), np.bool_)
        if self._submitted.shards:
            is_kept = np.fromiter(map(bool, self._submitted.custom_ids_of(columns)), np.bool_, len(batch))
        is_requested = np.zeros(len(batch), np.bool_)
        keys: Sequence[Key] = list(zip(*columns, strict=True))
        for template in self._templates:
            step = max(1, HELD_BYTES // template.constant_bytes)
            for start in range(0, len(batch), step):
                rows = batch.take(range(start, min(start + step, len(batch))))
                requested = self._requested(template, rows, keys[start : start + step], None)
                for sample in self._samples:
                    one = requested.of_sample(sample)
                    chosen = self.unchanged.to_ask(one.requests, one.carried, self._unsent(one.requests))
                    is_requested[start + np.asarray(chosen, np.int64)] = True
        is_new = is_requested & ~is_kept
        is_over = is_new & (np.cumsum(is_new) > left)
        self._left = left - int(np.count_nonzero(is_new & ~is_over))
        self._kept_ahead -= int(np.count_nonzero(is_kept))
        return batch.take(np.flatnonzero(~is_over).tolist())

    def _add(self, batch: RowBatch, hashes: RowHashes | None) -> None:
        keys = self.keys.add(batch)
        there = None
        if self._submitted.shards:
            there = list(self._submitted.custom_ids_of([batch.values(name) for name in self._key_names]))
        for template in self._templates:
            model_samples = [(template.model, sample) for sample in self._samples]
            new: Sequence[int] = range(len(batch))
            if there is not None:
                new = [number for number in new if not there[number].issuperset(model_samples)]
            step = max(1, HELD_BYTES // template.constant_bytes)
            for start in range(0, len(new), step):
                some = new[start : start + step]
                rows = batch if len(some) == len(batch) else batch.take(some)
                of_rows = None if hashes is None else hashes[some]
                requested = self._requested(template, rows, [keys[number] for number in some], of_rows)
                for model, sample in model_samples:
                    lacking: Sequence[int] = range(len(some))
                    if there is not None:
                        lacking = [index for index in lacking if (model, sample) not in there[some[index]]]
                    self._ask(requested.chosen(lacking).of_sample(sample))

    def _requested(
        self, template: RequestTemplate, batch: RowBatch, keys: Sequence[Key], hashes: RowHashes | None
    ) -> _Requested:
        requests = requests_of(template, batch, keys, self.keys.named, self._counter)
        try:
            arrays = [batch.array(name) for name in self._carried_names]
        except RowError as error:
            raise RowError(f"{self.keys.named(keys[error.row or 0])}: {error}. Nothing was sent") from None
        carried = pa.table(arrays, names=list(self._carried_names))
        return _Requested(requests, carried, keys, hashes, has_samples=len(self._samples) > 1)

    def _ask(self, requested: _Requested) -> None:
        """Put requests that no target has answered into shards; record why a row is not sent."""
        unsent = self._unsent(requested.requests)
        chosen, copies = self.unchanged.changed(requested.requests, requested.carried, requested.hashes, unsent)
        for copied in copies:
            self._copy(requested.chosen(copied.indexes), copied)
        if not chosen:
            return
        if unsent:
            unsent = {number: unsent[index] for number, index in enumerate(chosen) if index in unsent}
        requested = requested.chosen(chosen)
        requests = requested.requests
        custom_ids: Sequence[str | None] = requests.custom_ids
        reasons: Sequence[str | None] = [None] * len(custom_ids)
        if unsent:
            self.unsent += len(unsent)
            custom_ids = [None if number in unsent else custom_id for number, custom_id in enumerate(custom_ids)]
            reasons = [unsent.get(number) for number in range(len(custom_ids))]
        rows = source_rows(requested.carried, requests.model, custom_ids, reasons, requested.hashes)
        new = self.shards.add(requests, rows, unsent)
        longest = max(new.lines, key=len, default=b"")
        if len(longest) > self.longest.bytes:
            row = self.keys.named(requested.keys[requests.lines.index(longest)]).removeprefix("row ")
            self.longest = LongestRequest(len(longest), row)

    def _copy(self, chosen: _Requested, copied: Copies) -> None:
        """Copy answers that one target has to the targets that lack them."""
        model, custom_ids = chosen.requests.model, chosen.requests.custom_ids
        rows = source_rows(chosen.carried, model, custom_ids, [None] * len(custom_ids), chosen.hashes)
        self.shards.copy(rows, copied.answers, model, copied.into)

    def _unsent(self, requests: RequestLines) -> dict[int, str]:
        """The rows that are not sent, by index, and why."""
        most = self._limits.max_bytes
        is_oversize = max(map(len, requests.lines), default=0) > most
        oversize = {
            number: f"the request has {len(line):,} bytes; a whole file may have {most:,}"
            for number, line in enumerate(requests.lines if is_oversize else ())
            if len(line) > most
        }
        return oversize | requests.blank
