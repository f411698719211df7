"""Differences: the rows that differ between a target and staging, by key. Only used if the fingerprints differ."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greennode_batch.job.columns import JOB_ID, ORDER
from greennode_batch.plan.rebuild import shards_of
from greennode_batch.reconcile.removals import removed_later
from greennode_batch.reconcile.written import WrittenRows
from greennode_batch.staging.folders import RunFolder, ShardFolder, fresh_names, local_copy, numbered, safe_name
from greennode_batch.staging.parquet import read_pieces, staged_schema
from greennode_batch.state.plan import Plan, read_plan
from greennode_batch.state.row_status import RowStatus
from greennode_batch.tables.fingerprint import row_hashes
from greennode_batch.tables.key_sample import KeySample
from greennode_batch.tables.text_hashes import Hashes
from greennode_batch.write.join import row_statuses

log = logging.getLogger(__name__)

_LOOKED_UP_ROWS = 20_000


class Differences(NamedTuple):
    """How a target differs from staging."""

    problems: list[str]
    """What does not add up, in words, with keys."""
    superseded: int = 0
    """Rows that a later run of the job has overwritten."""
    taken_over: int = 0
    """Rows that another job has overwritten."""
    kept_answers: int = 0
    """Rows where an earlier answer stayed."""


def find_differences(run: RunFolder, plan: Plan, key: Sequence[str], target: WrittenRows) -> Differences:
    """Find the rows that differ between the target and staging. Holds 8 bytes per row of both sides.

    A database may return a key in another form (padded, in other letters, rounded). Before such a row is reported as
    lost, its key is looked up with the database's own comparison.
    """
    search = _Search(run, plan, key, target)
    for planned in plan.shards:
        for rows in row_statuses(run.shard(planned.shard_id), key):
            search.look_up(rows)
    search.name_strangers()
    return Differences(search.problems(), search.superseded(), search.taken_over(), search.kept_answers)


def key_schema(run: RunFolder, plan: Plan, key: Sequence[str]) -> pa.Schema:
    """Key, custom_id and status with the types of staging, which are the same for all shards of a run."""
    text = pa.schema([pa.field(name, pa.string()) for name in (*key, "custom_id", "status")])
    shards = [run.shard(shard.shard_id) for shard in plan.shards[:1]] or _joined_before(run, plan)
    if not shards:
        return text
    source = staged_schema(shards[0].source)
    return pa.schema([*(source.field(name).remove_metadata() for name in key), *list(text)[len(key) :]])


def target_key(run: RunFolder, plan: Plan) -> pa.Schema:
    """The target's primary key, with the types of staging."""
    schema = key_schema(run, plan, plan.target_key)
    return pa.schema([schema.field(name) for name in plan.target_key])


def _joined_before(run: RunFolder, plan: Plan) -> list[ShardFolder]:
    """The shards that earlier builds of the run planned, and that were joined before the latest build left them out."""
    planned = {shard.shard_id for shard in plan.shards}
    return [shard for shard_id, shard in shards_of(run).items() if shard_id not in planned and shard.joined.exists()]


def _unsent_of_all_builds(run: RunFolder, key: Sequence[str]) -> Iterator[pa.Table]:
    """The rows that the run's builds did not send. Builds without any request put theirs into shards of one id."""
    for shard in shards_of(run).values():
        for turn in numbered(fresh_names(shard.path), "source", "parquet"):
            with local_copy(shard.source_of(turn)) as path, pq.ParquetFile(path) as file:
                for rows in read_pieces(file, [*key, "custom_id", "unsent"]):
                    unsent = rows.filter(pc.is_valid(rows["unsent"])).drop_columns("unsent")
                    yield unsent.append_column("status", pa.repeat(RowStatus.UNSENT.value, unsent.num_rows))


class _Search:
    """Searches the run shard by shard, and then the target for rows that no shard has."""

    def __init__(self, run: RunFolder, plan: Plan, key: Sequence[str], target: WrittenRows) -> None:
        self._run = run
        self._plan = plan
        self._job_id = plan.owner.job_id
        self._key = list(key)
        self._target = target
        self._schema = key_schema(run, plan, key)
        self._expected = _sorted(
            row_hashes(rows, key) for planned in plan.shards for rows in row_statuses(run.shard(planned.shard_id), key)
        )
        self._held = _sorted(row_hashes(rows, key) for rows in target.batches(self._schema))
        # Rows with equal hashes are looked up as well, because their keys may differ in the target.
        self._doubled = _repeated(self._expected)
        self._explained: list[Hashes] = []
        self._owners: Counter[str] = Counter()
        self._removed = 0
        self._other_jobs: Counter[str] = Counter()
        self.kept_answers = 0
        self._lost = KeySample()
        self._changed = KeySample()
        self._earlier: dict[str, KeySample] = {}
        self._strangers = KeySample()
        self._answers = KeySample()
        self._twice = KeySample()
        self._shared = KeySample()

    def look_up(self, rows: pa.Table) -> None:
        """Look up the rows of a shard that the target did not return in the same form."""
        hashes = row_hashes(rows, self._key)
        odd = rows.filter(pa.array(~_is_in(hashes, self._held) | _is_in(hashes, self._doubled)))
        for start in range(0, odd.num_rows, _LOOKED_UP_ROWS):
            requested = odd.slice(start, _LOOKED_UP_ROWS)
            found = self._target.find(requested.select(self._key))
            present = pc.is_in(pa.array(range(requested.num_rows)), value_set=found["index"].combine_chunks())
            self._lost.add_keys(requested.filter(pc.invert(present)).select(self._key))
            ours = pc.fill_null(pc.equal(found["run_id"], self._plan.run_id), fill_value=False)
            if self._job_id is not None:
                ours = pc.and_(ours, pc.fill_null(pc.equal(found[JOB_ID], self._job_id), fill_value=True))
            self._note_changed(requested, found.filter(ours))
            self._note_others(requested, found.filter(pc.invert(ours)))

    def name_strangers(self) -> None:
        """Read the target's rows again and collect those that no source row explains."""
        explained = _sorted(self._explained)

        def claims(hashes: Hashes) -> npt.NDArray[np.int64]:
            """How many source rows each row of the target belongs to."""
            seen_at_once = _is_in(hashes, self._expected) & ~_is_in(hashes, self._doubled)
            return _count_in(hashes, explained) + seen_at_once

        held = np.unique(self._held)
        claimed = claims(held)
        strange = held[claimed == 0]
        twice = held[(claimed > 0) & (claimed < _count_in(held, self._held))]
        if strange.size:
            strange = strange[~_is_in(strange, self._of_earlier_builds())]
        found = np.unique(explained)
        shared = found[claims(found) > _count_in(found, self._held)]
        if not strange.size + twice.size + shared.size:
            return
        for rows in self._target.batches(self._schema):
            hashes = row_hashes(rows, self._key)
            for named, sought in ((self._twice, twice), (self._shared, shared)):
                named.add_keys(rows.filter(pa.array(_is_in(hashes, sought))).select(self._key))
            others = rows.filter(pa.array(_is_in(hashes, strange)))
            is_answer = pc.equal(others["status"], RowStatus.SUCCEEDED.value)
            self._answers.add_keys(others.filter(is_answer).select(self._key))
            self._strangers.add_keys(others.filter(pc.invert(is_answer)).select(self._key))

    def _of_earlier_builds(self) -> Hashes:
        """The rows that earlier builds of this run wrote and the latest one does not have: they left the source since.

        The target keeps them, as it keeps the rows of earlier runs.
        """
        joined = (row_statuses(shard, self._key) for shard in _joined_before(self._run, self._plan))
        rows = itertools.chain(itertools.chain.from_iterable(joined), _unsent_of_all_builds(self._run, self._key))
        return _sorted(row_hashes(some, self._key) for some in rows)

    def problems(self) -> list[str]:
        """The differences in words, each with its keys and the way out."""
        self._answers = self._less_known(self._answers, self._plan.unchanged, "unchanged")
        remembered = sum(self._plan.remembered.values())
        self._strangers = self._less_known(self._strangers, remembered, "remembered")
        again = f"The answers are safe in {self._run}; clear join_results to write them again, at no cost"
        by_others = f"rows that are in the target under run {self._plan.run_id} but not in its source"
        who = "An earlier build of this run or somebody else wrote them"
        by_several = (
            "rows of the target that stand for several source rows each, because the target treats their keys as equal",
            "Give the target's key the source's type and collation, or make the keys differ",
        )
        by_intent = 'if another job, or a run whose staging is gone, removed them by orphaned_rows="remove", leave them'
        said = [
            (self._lost_here(), "rows that are not in the target", f"{again}; {by_intent}"),
            (self._changed, "rows that are in the target with another status or custom_id", again),
            (self._strangers, by_others, f"{who}; delete those that you do not want"),
            (self._answers, f"answered {by_others}", f"{who}; they may have been paid for, so keep them"),
            (self._twice, "rows that are in the target more than once", again),
            (self._shared, *by_several),
        ]
        for owner, named in self._earlier.items():
            why = f"This run has not joined them here, or has lost them, or that run was joined again since. {again}"
            said.append((named, f"rows of the target that still have what the earlier run {owner} wrote", why))
        return [f"{what} ({named.count:,}): {named}. {way_out}" for named, what, way_out in said if named.count]

    def _less_known(self, strangers: KeySample, known: int, what: str) -> KeySample:
        """The unexplained rows; none if the build may have found all of them and left them as they are."""
        if not 0 < strangers.count <= known:
            return strangers
        log.warning(
            "%s rows were written by an earlier build of this run, whose staging is gone. They count as %s: %s",
            f"{strangers.count:,}",
            what,
            strangers,
        )
        return KeySample()

    def _lost_here(self) -> KeySample:
        """None of the rows that the target lacks, if later runs of the job have removed so many of its rows."""
        removed = removed_later(self._run, self._plan) if self._lost.count else Counter[str]()
        if not 0 < self._lost.count <= removed.total():
            return self._lost
        log.warning(
            "%s rows are not in the target: later runs removed so many that had left the source (%s): %s",
            f"{self._lost.count:,}",
            ", ".join(removed),
            self._lost,
        )
        self._removed = self._lost.count
        return KeySample()

    def superseded(self) -> int:
        """How many rows later runs have overwritten or removed. Call it after `problems`."""
        for owner, count in self._owners.most_common():
            log.warning("%s rows were overwritten by the later run %s", f"{count:,}", owner)
        return self._owners.total() + self._removed

    def taken_over(self) -> int:
        """How many rows other jobs have overwritten."""
        for job_id, count in self._other_jobs.most_common():
            log.warning("%s rows were overwritten by the job %s, which shares this target", f"{count:,}", job_id)
        return self._other_jobs.total()

    def _note_changed(self, requested: pa.Table, found: pa.Table) -> None:
        self._explained.append(row_hashes(found, self._key))
        wanted = requested.take(found["index"])
        as_requested = zip(wanted["custom_id"].to_pylist(), wanted["status"].to_pylist(), strict=True)
        as_found = zip(found["custom_id"].to_pylist(), found["status"].to_pylist(), strict=True)
        for number, (want, have) in enumerate(zip(as_requested, as_found, strict=True)):
            if want != have:
                self._changed.add(f"{_key_of(wanted, self._key, number)} ({_told_apart(want, have)})")

    def _note_others(self, requested: pa.Table, found: pa.Table) -> None:
        wanted = requested.take(found["index"])
        statuses = zip(wanted["status"].to_pylist(), found["status"].to_pylist(), strict=True)
        owners = zip(*(found[name].to_pylist() for name in ("run_id", JOB_ID, ORDER)), strict=True)
        for number, ((owner, job_id, order), (want, have)) in enumerate(zip(owners, statuses, strict=True)):
            is_other_job = None not in (job_id, self._job_id) and job_id != self._job_id
            is_kept = have == RowStatus.SUCCEEDED != want
            is_earlier = owner is not None and self._is_earlier(owner, order, is_other_job=is_other_job)
            if owner is None:
                self._changed.add(f"{_key_of(wanted, self._key, number)} (run_id is NULL)")
            elif is_kept and (is_earlier or (order is None and job_id is not None)):
                # A row with a job but without an order is from an earlier version.
                self.kept_answers += 1
            elif is_earlier:
                self._earlier.setdefault(owner, KeySample()).add(_key_of(wanted, self._key, number))
            elif is_other_job:
                self._other_jobs[job_id] += 1
            else:
                self._owners[owner] += 1

    def _is_earlier(self, owner: str, order: str | None, *, is_other_job: bool) -> bool:
        """Whether the owner's run certainly comes before this one, so that it cannot have overwritten these rows."""
        own_order = self._plan.owner.order
        if order is not None and own_order is not None and order != own_order:
            return order < own_order
        if is_other_job:
            return False  # the other job may have a run of the same id, in another folder
        if owner not in self._earlier and owner not in self._owners:
            other = read_plan(RunFolder(self._run.path.parent / safe_name(owner)))
            if other is not None and other.created_at < self._plan.created_at:
                self._earlier[owner] = KeySample()
        return owner in self._earlier


def _told_apart(want: tuple[Any, Any], have: tuple[Any, Any]) -> str:
    names = ("custom_id", "status")
    return ", ".join(
        f"{name} {there or 'NULL'} instead of {here or 'NULL'}"
        for name, here, there in zip(names, want, have, strict=True)
        if here != there
    )


def _key_of(rows: pa.Table, key: Sequence[str], number: int) -> str:
    return KeySample.text([rows[name][number].as_py() for name in key])


def _sorted(parts: Iterable[Hashes] | Iterator[Hashes]) -> Hashes:
    made = np.concatenate([np.empty(0, np.uint64), *parts])
    made.sort()
    return made


def _repeated(ordered: Hashes) -> Hashes:
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def _count_in(values: Hashes, ordered: Hashes) -> npt.NDArray[np.int64]:
    counts: npt.NDArray[np.int64] = np.searchsorted(ordered, values, "right") - np.searchsorted(ordered, values)
    return counts


def _is_in(values: Hashes, ordered: Hashes) -> npt.NDArray[np.bool_]:
    """Which of the values are among the ordered ones; unlike numpy's isin, it copies neither."""
    if not ordered.size:
        return np.zeros(values.shape, np.bool_)
    indexes = np.searchsorted(ordered, values)
    indexes[indexes == ordered.size] = 0
    found: npt.NDArray[np.bool_] = ordered[indexes] == values
    return found
