"""Unchanged rows: rows whose request the target has answered, or has recorded a final outcome for.

The answer cache finds most of them before they are rendered.

What the run leaves unchanged is recorded until its end, when the next cache is written: answered.<n>.json, and the
hashes of these rows in unchanged.<n>.bin.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.incremental.all_targets import AllTargets, Copies
from greennode_batch.incremental.answer_cache import (
    AnswerCache,
    answer_cache_path,
    cached_hashes,
    read_answer_cache,
    validity,
)
from greennode_batch.incremental.answered import ANSWERED, FINAL_CODES, SETTLED, Codes
from greennode_batch.incremental.batch_buffer import BatchBuffer
from greennode_batch.incremental.row_hashes import RowHashes, hash_rows, with_model
from greennode_batch.incremental.target_lookup import TableLookup, TargetLookup
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.columns import SAMPLE
from greennode_batch.request.request_lines import RequestLines
from greennode_batch.source.column_types import table_of
from greennode_batch.source.rows import RowBatch
from greennode_batch.staging.folders import RunFolder, land, write_json
from greennode_batch.staging.spill_file import SpillFile
from greennode_batch.state.plan import OrphanedRows
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.state.untouched_rows import UntouchedRows
from greennode_batch.tables.key_values import KeyValues


class UnchangedRows:
    """Finds unchanged rows. Holds one byte for each row of the cache; hashes and keys of rows lie on disk, in `work`.

    target_lookups: the targets; without any, no row is unchanged. A cache is read and written only if there is a single
        table.
    columns: all columns of the source.
    names: all names in the prompts.
    requests: what else determines the requests, as values that JSON can represent.
    owner: the owner of the run's rows.
    is_first: whether nothing of this run has been sent. Otherwise, or if the job ignores orphaned rows, no cache is
        read or written.
    use_cache: whether a cache may be read.
    renews: whether settled rows of runs of earlier data become the run's, with its carried columns. Then no cache is
        read or written.
    """

    def __init__(
        self,
        job: BatchJob,
        run: RunFolder,
        work: Path,
        target_lookups: Sequence[TargetLookup],
        *,
        columns: Sequence[str],
        names: Collection[str],
        requests: Sequence[Any],
        owner: RowOwner,
        is_first: bool,
        use_cache: bool,
        renews: bool = False,
    ) -> None:
        self.count = 0
        """Rows that have a valid answer, counted once for each model and sample."""
        self.remembered: Counter[str] = Counter()
        """Rows whose outcome is final, by status."""
        self.answered_before = 0
        """Rows that are sent although a target has a valid answer for them."""
        self.of_others = 0
        """Rows settled by another job's row. The cache leaves them out, because that job may change or remove them."""
        self.superseded = 0
        """Rows that the targets have from a run of later data, for another request: its rows stay, so none is sent."""
        self.taken_out = 0
        """Rows that only the cache has checked."""
        self._job = job
        self._model_samples = job.model_samples
        self._run = run
        self._inputs = [name for name in columns if name in names]
        self._buffer = BatchBuffer(columns, kept=(*job.key_columns, *job.carry))
        reader = AnswerReader(job.answer)
        self._model_hash = reader.model_hash
        self._final_for = None if job.retry_final else self._model_hash
        self._targets = (
            AllTargets(target_lookups, reader.fields, final_for=self._final_for, owner=owner, renews=renews)
            if target_lookups
            else None
        )
        self.seeks_orphaned = bool(target_lookups) and job.orphaned_rows != "ignore"
        """Whether to look for rows of the targets that the source no longer has."""
        # If all rows are sent again, the targets only show how many are answered, and which rows are orphaned.
        single = target_lookups[0] if job.refresh == "changed" and len(target_lookups) == 1 else None
        self._table_lookup = single if isinstance(single, TableLookup) else None
        # A query of a single interval is not worth reading a digest of the whole table, and rows that other tasks
        # rendered come without the inputs of their prompts.
        is_whole = job.orphaned_rows != "ignore" and job.partitions == 1 and not renews
        self._tables = [one for one in target_lookups if isinstance(one, TableLookup)]
        self._table = self._table_lookup.begin() if self._table_lookup is not None and is_first and is_whole else None
        self._cache: AnswerCache | None = None
        self._valid_for = ""
        if self._table_lookup is not None and self._table is not None:
            # Without samples, nothing is added, so that earlier caches of such jobs stay valid.
            samples = [job.samples] if job.samples > 1 else []
            self._valid_for = validity(
                self._table_lookup.name, job.target_key, job.models, self._inputs, requests, *samples
            )
            if use_cache:
                path = answer_cache_path(run, self._table_lookup.name)
                self._cache = read_answer_cache(path, work, valid_for=self._valid_for, table=self._table)
        self._keys = SpillFile[list[list[Any]]](work / "unchanged.pickle")
        self._hashes_path = work / "unchanged.bin"
        self._hashes = self._hashes_path.open("wb")

    def others(self, batch: RowBatch) -> Iterator[tuple[RowBatch, RowHashes | None]]:
        """Yield the rows that the cache cannot call unchanged, a few thousand at a time, with their hashes.

        `buffered` yields the last of them. Hashes are None if no cache is to be written. Raises RepeatedKeyError.
        """
        if self._table is None:
            yield batch, None
            return
        hashes = hash_rows(batch, key=self._job.key_columns, inputs=self._inputs)
        if self._cache is None:
            yield batch, hashes
            return
        requested = [with_model(hashes, model, sample) for model, sample in self._model_samples]
        codes = [self._cache.settled(one, self._final_for) for one in requested]
        same = np.logical_and.reduce([one != 0 for one in codes])
        for one, come_to in zip(requested, codes, strict=True):
            self._count(come_to[same])
            self._keep(one[same], come_to[same])
        self.taken_out += int(np.count_nonzero(same))
        self._keys.add([list(itertools.compress(batch.values(name), same)) for name in self._job.key_columns])
        if not same.all():
            others = np.flatnonzero(~same)
            yield from self._buffer.add(batch.take(others.tolist()), hashes[others])

    def buffered(self) -> Iterator[tuple[RowBatch, RowHashes]]:
        """Yield the rows that `others` still holds."""
        return self._buffer.take()

    def changed(
        self, requests: RequestLines, rows: pa.Table, hashes: RowHashes | None, unsent: Mapping[int, str]
    ) -> tuple[Sequence[int], Sequence[Copies]]:
        """Return the indexes of rows whose request no target has settled, and the rows that only some targets have.

        rows: with the target's key columns, except the model.
        unsent: the rows that are not sent, by index, and why.
        """
        if self._targets is None:
            return range(rows.num_rows), []
        keys = self._keys_of(requests, rows)
        if self._job.refresh == "all":
            before, later = self._targets.answered(keys, requests.custom_ids)
            self.answered_before += len(set(before).difference(unsent, later))
            self.superseded += len(later)
            return _without(later, rows.num_rows), []
        found = self._targets.look_up(keys, requests.custom_ids, unsent)
        self.answered_before += len(set(found.answered_before).difference(unsent))
        is_cached = found.codes != 0
        self._count(found.codes)
        self.superseded += found.superseded
        is_cached[list(found.of_others)] = False
        self.of_others += len(found.of_others)
        if hashes is not None:
            self._keep(hashes[is_cached], found.codes[is_cached])
        return found.requested, found.copies

    def to_ask(self, requests: RequestLines, rows: pa.Table, unsent: Mapping[int, str]) -> Sequence[int]:
        """The indexes that `changed` would give for the same rows. Counts nothing."""
        if self._targets is None:
            return range(rows.num_rows)
        keys = self._keys_of(requests, rows)
        if self._job.refresh == "all":
            _, later = self._targets.answered(keys, requests.custom_ids)
            return _without(later, rows.num_rows)
        return self._targets.look_up(keys, requests.custom_ids, unsent).requested

    def orphaned(self, keys: Callable[[], Iterable[pa.Table]], *, order: str | None) -> OrphanedRows:
        """Find the targets' rows that the source does not have, and remove them if the job says so.

        keys: gives the keys of all rows that the cache did not take out, each time it is called.
        order: the run's order; rows that a later run wrote are not orphaned.

        Call it only if `seeks_orphaned` is set.
        """
        assert self._targets is not None
        found = self._orphaned_by_cache(self._table_lookup) if self._table_lookup is not None else None
        if found is not None:
            return found

        return self._targets.orphaned(
            lambda: self._all_keys(keys),
            requested=self._requested,
            order=order,
            remove=self._job.orphaned_rows == "remove",
        )

    def check_keys(self, keys: Callable[[], Iterable[pa.Table]], values: Mapping[str, KeyValues]) -> None:
        """Raise ConfigError if a table takes two keys of the source for one, or cannot hold one.

        keys: as for `orphaned`. values: what UniqueKeys sums up of them.
        """
        for table in self._tables:
            table.check_keys(lambda: self._all_keys(keys), values, self._requested)

    def _all_keys(self, keys: Callable[[], Iterable[pa.Table]]) -> Iterator[pa.Table]:
        yield from keys()
        yield from (table_of(columns, self._job.key_columns) for columns in self._keys)

    def land(self, orphaned: OrphanedRows | None) -> None:
        """Record in staging what the run leaves unchanged. orphaned: the result of `orphaned`."""
        self._hashes.close()
        if self._table_lookup is None or self._table is None:
            return
        land(self._hashes_path, self._run.unchanged)
        # Removed rows are no longer in the table, and rows that were not looked for are unknown.
        still = orphaned if orphaned is not None and not orphaned.removed else None
        others = self._table.without(self._table_lookup.replaced).joined_with(self._table_lookup.taken_over)
        cache = UntouchedRows(
            table=self._table_lookup.name,
            valid_for=self._valid_for,
            others=others,
            orphaned=still,
            job_id=self._table_lookup.job_id,
            of_other_jobs=self.of_others,
            final_for=self._model_hash,
        )
        write_json(self._run.answered, cache)

    def _keys_of(self, requests: RequestLines, rows: pa.Table) -> pa.Table:
        return rows.append_column("model", pa.repeat(requests.model, rows.num_rows)).select(self._job.target_key)

    def _count(self, codes: Codes) -> None:
        """Count rows by their codes."""
        counts = np.bincount(codes, minlength=len(SETTLED) + 1).tolist()
        self.count += counts[ANSWERED]
        self.remembered += Counter({SETTLED[code - 1].value: counts[code] for code in FINAL_CODES})

    def _keep(self, hashes: RowHashes, codes: Codes) -> None:
        """Store the hashes of rows for the next cache."""
        self._hashes.write(cached_hashes(hashes, codes, self._model_hash).tobytes())

    def _orphaned_by_cache(self, lookup: TableLookup) -> OrphanedRows | None:
        """Find orphaned rows from the cache alone; None if it does not suffice."""
        if self._cache is None:
            return None
        header, rows, seen = self._cache.header, self._cache.rows, self._cache.seen
        # Some of the rows that were looked up may be in the table, but not in the cache.
        if seen < rows or lookup.found != seen - self.taken_out * len(self._model_samples):
            return None
        count = header.table.rows - rows
        if not count:
            return OrphanedRows(0, "", removed=False)
        orphaned = header.orphaned
        if orphaned is None or orphaned.count + orphaned.not_requested != count:
            return None
        return None if orphaned.count and self._job.orphaned_rows == "remove" else orphaned

    @property
    def _requested(self) -> pa.Table | None:
        """The values that this run may have in the target's further key columns; None if there are none."""
        names = self._job.target_key[len(self._job.key_columns) :]
        models, samples = zip(*self._model_samples, strict=True)
        return pa.table({"model": models, SAMPLE: samples}).select(names) if names else None


def _without(left_out: Collection[int], rows: int) -> Sequence[int]:
    """The indexes of so many rows without these."""
    return [index for index in range(rows) if index not in left_out]
