"""Record answers: write the answer cache at the end of a run, so that the next run need not render answered rows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.errors import GreenNodeError
from greennode_batch.incremental.answer_cache import (
    RepeatedKeyError,
    answer_cache_path,
    cached_hashes,
    write_answer_cache,
)
from greennode_batch.incremental.answered import is_answered, settled
from greennode_batch.incremental.row_hashes import ROW_HASHES, RowHashes
from greennode_batch.job.columns import JOB_ID
from greennode_batch.plan.source_rows import HASHES, hashes_in
from greennode_batch.staging.folders import RunFolder, local_copy, read_json, work_folder
from greennode_batch.staging.parquet import staged_schema
from greennode_batch.state.plan import Plan
from greennode_batch.state.table_digest import NO_DIGEST, TableDigest
from greennode_batch.state.untouched_rows import UntouchedRows
from greennode_batch.tables.sql_dialect import Digests
from greennode_batch.tables.table_target import TableTarget
from greennode_batch.tables.typed_rows import DIGEST
from greennode_batch.write.final_outcomes import FinalOutcomes
from greennode_batch.write.join import row_outcomes, row_statuses
from greennode_batch.write.result_parts import FINAL

log = logging.getLogger(__name__)

_READ_ROWS = 1 << 18


class _UnknownError(GreenNodeError):
    """It is uncertain which rows the table has answered, so no cache is written. The next run looks up every row."""


class AnsweredTable:
    """A table with an answer cache. Compare its rows with the run's between `__init__` and `record`."""

    def __init__(self, table: TableTarget, run: RunFolder, *, run_id: str) -> None:
        self._table = table
        self._run = run
        self._run_id = run_id
        self._untouched_rows = read_json(run.answered, UntouchedRows)
        self._digests = self._digests_of(self._untouched_rows) if self._untouched_rows else None

    def record(self, plan: Plan, *, kept_answers: int = 0) -> None:
        """Write the answer cache. Call it after the run's rows in the table were found to be correct.

        kept_answers: the run's rows without an answer that keep an earlier answer. If it is uncertain which rows the
        table has answered, this writes no cache and logs why. Holds some thousand rows.
        """
        try:
            self._record(plan, kept_answers)
        except (_UnknownError, RepeatedKeyError) as error:
            log.info("No answer cache for table %s, so the next run looks up every row: %s", self._table.name, error)

    def _digests_of(self, untouched_rows: UntouchedRows) -> Digests | None:
        return self._table.digests(self._run_id, job_id=untouched_rows.job_id)

    def _record(self, plan: Plan, kept_answers: int) -> None:
        run, untouched_rows = self._run, self._untouched_rows
        if untouched_rows is None or untouched_rows.table != self._table.name:
            # The job or the database needs no cache, the run was built around shards that were sent before, or the
            # cache exists already.
            return
        digests = self._digests_of(untouched_rows)
        expected = untouched_rows.others
        if kept_answers:
            expected = expected.joined_with(self._kept(plan, untouched_rows.job_id))
        if digests is None or digests != self._digests or digests.others != expected:
            raise _UnknownError("the job's rows have been changed by somebody else since the run was built")
        table = digests.all_rows
        rows = plan.answers_for - untouched_rows.of_other_jobs
        absent = table.rows - rows
        orphaned = untouched_rows.orphaned
        if absent < 0 or (orphaned is not None and orphaned.count + orphaned.not_requested != absent):
            raise _UnknownError(f"the table has {table.rows:,} rows, but the run knows {rows:,}")
        size, stay = run.unchanged.stat().st_size, rows - plan.rows
        if size != stay * ROW_HASHES.itemsize:
            raise _UnknownError(f"{run.unchanged} has {size:,} bytes, which is not the size of {stay:,} rows")
        with work_folder(run.path) as work:
            has_final = self._table.is_there([FINAL.name])
            entries = _entries(run, plan, untouched_rows.final_for, has_final=has_final)
            path = answer_cache_path(run, self._table.name)
            write_answer_cache(
                path, Path(work), entries, valid_for=untouched_rows.valid_for, table=table, orphaned=orphaned
            )
        log.info("Wrote the answer cache of table %s for the next run: %s", self._table.name, path)
        # The cache now has their contents.
        run.answered.unlink()
        run.unchanged.unlink()

    def _kept(self, plan: Plan, job_id: str | None) -> TableDigest:
        """The digest of the job's rows that stay in place of rows of the run."""
        made = NO_DIGEST
        tells_owners = job_id is not None and self._table.is_there([JOB_ID])
        for planned in plan.shards:
            for rows in row_statuses(self._run.shard(planned.shard_id), self._table.key):
                failed = rows.filter(pc.invert(is_answered(rows)))
                found = self._table.find(failed.select(self._table.key), digests=True)
                others = found.filter(pc.not_equal(found["run_id"], self._run_id))
                if tells_owners:
                    others = others.filter(pc.equal(others[JOB_ID], job_id))
                made = made.joined_with(TableDigest(others.num_rows, sum(others[DIGEST].to_pylist())))
        return made


def _entries(run: RunFolder, plan: Plan, final_for: str, *, has_final: bool) -> Iterator[RowHashes]:
    """Yield the cache's entries for all source rows.

    has_final: whether the table has the column of final outcomes; without it, statuses and errors decide.
    """
    with local_copy(run.unchanged) as path, path.open("rb") as file:
        while len(some := np.fromfile(file, ROW_HASHES, _READ_ROWS)):
            yield some
    final = FinalOutcomes(run, plan)
    order = plan.owner.order if has_final else None
    for planned in plan.shards:
        shard = run.shard(planned.shard_id)
        unknown = _UnknownError(f"{shard.source} has no hashes of its rows")
        if HASHES not in staged_schema(shard.source).names:
            raise unknown
        for rows in row_outcomes(shard, [HASHES], final):
            hashes = hashes_in(rows)
            if hashes is None:
                raise unknown
            orders = pa.repeat(pa.scalar(order, pa.string()), rows.num_rows)
            finals = rows[FINAL.name] if has_final else pa.nulls(rows.num_rows, pa.string())
            held = rows.append_column("greennode_order", orders).drop_columns(FINAL.name).append_column(FINAL, finals)
            yield cached_hashes(hashes, settled(held, final_for or None), final_for)
