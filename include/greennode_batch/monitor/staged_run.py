"""A staged run: its plan, how far each of its batches is, and its report, from its files in staging."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from greennode_batch.monitor.file_cache import SeenFiles
from greennode_batch.staging.folders import RunFolder, numbered
from greennode_batch.state.actual_cost import CostByShard, ShardCost
from greennode_batch.state.approval_record import Approval
from greennode_batch.state.attempts import FIRST_ATTEMPT, RetryPlan, SentShard, in_parts, planned_shards
from greennode_batch.state.canaries import Canaries, Canary
from greennode_batch.state.document import or_before
from greennode_batch.state.live_answers import LiveProgress, progress_name
from greennode_batch.state.no_credit import NoCredit
from greennode_batch.state.plan import Plan
from greennode_batch.state.receipts import Receipt, receipt_names, receipt_of
from greennode_batch.state.run_identity import RemovedRun, RunIdentity
from greennode_batch.state.run_report import RunReport
from greennode_batch.state.split import Split, parts_in

log = logging.getLogger(__name__)

_PLACEHOLDER = "SHARD"

Stage = Literal["empty", "built", "refused", "sent", "cancelling", "answering", "answered", "collected", "lost"]
"""How far a shard is. `empty`: no request to send. `refused`: the server had no capacity; it is sent again.
`answering`: live, some of them so far. `answered`: live, and not collected yet.
"""


class StagedShard(msgspec.Struct, frozen=True):
    """One batch file of a run. index: its position in its attempt, the order in which mapped tasks take shards.

    actual_cost: what its batch has used, once the report is written. half_of: the planned shard that it was split from;
    both have the same index. None for a planned shard. answering: how far it is, if it is answered live. has_refused:
    whether a table refused answers of it.
    """

    attempt: int
    index: int
    shard_id: str
    model: str
    requests: int
    receipt: Receipt | None
    actual_cost: ShardCost | None = None
    half_of: str | None = None
    answering: LiveProgress | None = None
    has_refused: bool = False

    @property
    def planned_id(self) -> str:
        """The shard of the plan that has its rows, for a shard of the first attempt."""
        return self.half_of or self.shard_id

    @property
    def batch_id(self) -> str | None:
        """Its current or last batch."""
        return self.receipt.batch_id if self.receipt else None

    @property
    def stage(self) -> Stage:
        """How far it is."""
        receipt = self.receipt
        if not self.requests:
            return "empty"
        if receipt is None or self.answering is not None:
            return "built" if self.answering is None else "answering"
        if receipt.state == "collected":
            return "collected"
        if receipt.lost is not None:
            return "lost"
        if receipt.batch_id is None:
            return "answered" if receipt.live is not None else "refused" if receipt.over_capacity else "built"
        return "sent" if receipt.cancelled_at is None else "cancelling"

    @property
    def is_open(self) -> bool:
        """Whether its batch is at the server and not collected yet."""
        return self.stage in {"sent", "cancelling"}


class StagedRun(msgspec.Struct, frozen=True):
    """A run's files in staging. plan is None until it is built, report until it is first written.

    shards: of all attempts, in order. approval: the question to a person, and the answer. no_credit: what was refused
    for lack of credit. canaries: the first requests, which were tried live. splits: of shards that were larger than the
    server's limit. was_removed: retention has removed everything but the report.
    """

    path: str
    conn_id: str | None = None
    plan: Plan | None = None
    shards: tuple[StagedShard, ...] = ()
    report: RunReport | None = None
    was_removed: bool = False
    is_dry_run: bool = False
    is_try: bool = False
    approval: Approval | None = None
    no_credit: NoCredit | None = None
    canaries: tuple[Canary, ...] = ()
    splits: tuple[Split, ...] = ()

    @property
    def server(self) -> str:
        """The host that has its batches; empty before the first is sent."""
        return next((shard.receipt.server for shard in self.shards if shard.receipt and shard.receipt.server), "")


class StagedRuns:
    """Reads runs; reads each file again only if it has changed. Used by many threads."""

    def __init__(self) -> None:
        def warn(words: str) -> None:
            log.warning("%s", words)

        self._identities = SeenFiles(RunIdentity, limit=5_000, on_broken=warn)
        self._plans = SeenFiles(Plan, limit=500, on_broken=warn)
        self._retries = SeenFiles(RetryPlan, limit=500, on_broken=warn)
        self._receipts = SeenFiles(Receipt, on_broken=warn)
        self._splits = SeenFiles(Split, limit=500, on_broken=warn)
        self._progress = SeenFiles(LiveProgress, limit=5_000, on_broken=warn)
        self._reports = SeenFiles(RunReport, limit=500, on_broken=warn)
        self._actual_cost = SeenFiles(or_before(CostByShard, tuple[ShardCost, ...]), limit=100, on_broken=warn)
        self._removed = SeenFiles(RemovedRun, limit=5_000, on_broken=warn)
        self._approvals = SeenFiles(Approval, limit=500, on_broken=warn)
        self._canaries = SeenFiles(or_before(Canaries, tuple[Canary, ...]), limit=500, on_broken=warn)
        self._no_credit = SeenFiles(NoCredit, limit=500, on_broken=warn)

    def read(self, run: RunFolder) -> StagedRun:
        """The run as its files are now."""
        identity = self._identities.read_one(run.path, "run.json")
        plan = self._plans.read_one(run.path, self._latest(run, "", "plan"))
        tried = self._canaries.read_one(run.path, run.canary.name)
        splits: list[Split] = []
        return StagedRun(
            path=str(run),
            conn_id=identity.conn_id if identity else None,
            plan=plan,
            shards=() if plan is None else tuple(self._shards(run, plan, splits)),
            report=self._reports.read_one(run.path, run.report.name),
            was_removed=self._removed.read_one(run.path, run.removed.name) is not None,
            is_dry_run=identity is not None and identity.is_dry_run,
            is_try=identity is not None and identity.is_try,
            approval=self._approvals.read_one(run.path, run.approval.name),
            no_credit=self._no_credit.read_one(run.path, "no_credit.json"),
            canaries=tried.canaries if isinstance(tried, Canaries) else tried or (),
            splits=tuple(splits),
        )

    def _shards(self, run: RunFolder, plan: Plan, splits: list[Split]) -> Iterator[StagedShard]:
        """The shards of all attempts. splits: receives how shards were split."""
        said = self._actual_cost.read_one(run.path, run.costs.name)
        actual_cost = {
            (one.attempt, one.shard_id): one for one in (said.shards if isinstance(said, CostByShard) else said or ())
        }
        yield from self._of_attempt(run, planned_shards(plan), actual_cost, splits)
        for attempt in itertools.count(FIRST_ATTEMPT + 1):
            retry = self._retries.read_one(run.path, self._latest(run, f"attempt_{attempt}", "retry"))
            if retry is None:
                return
            yield from self._of_attempt(run, retry.planned, actual_cost, splits)

    def _latest(self, run: RunFolder, folder: str, stem: str) -> str:
        """The file of the latest turn, as a path below the run's folder."""
        (names,) = self._plans.names(run.path, [folder])
        found = numbered(names, stem)
        name = found[max(found)] if found else f"{stem}.json"
        return f"{folder}/{name}" if folder else name

    def _of_attempt(
        self,
        run: RunFolder,
        shards: Sequence[SentShard],
        actual_cost: Mapping[tuple[int, str], ShardCost],
        found: list[Split],
    ) -> Iterator[StagedShard]:
        if not shards:
            return
        splits = self._splits_of(run, shards)
        found += splits.values()
        indexes = {one.shard_id: index for index, one in enumerate(shards)}
        planned = {half.shard_id: one.shard_id for one in shards for half in parts_in(splits, one.shard_id)}
        shards = list(in_parts(shards, splits))
        # Only one folder is a path object, the rest is text: to make a path object takes longer than to read a receipt.
        folder = _below(run, str(shards[0]._replace(shard_id=_PLACEHOLDER).folder(run)))
        folders = [folder.replace(_PLACEHOLDER, one.shard_id) for one in shards]
        listed = self._receipts.names(run.path, folders)
        names = [receipt_names(found) for found in listed]
        paths = [f"{folder}/{name}" for folder, some in zip(folders, names, strict=True) for name in some]
        read = iter(self._receipts.read(run.path, paths))
        receipts = [receipt_of({name: next(read) for name in some}) for some in names]
        claimed = [
            folder
            for folder, some, receipt in zip(folders, listed, receipts, strict=True)
            if (receipt is None or not receipt.is_through) and any(name.startswith("creating.") for name in some)
        ]
        answering = self._answering(run, claimed)
        for one, folder, receipt, there in zip(shards, folders, receipts, listed, strict=True):
            used = actual_cost.get((one.attempt, one.shard_id))
            if used is not None and (receipt is None or used.batch_id != receipt.answered_by):
                used = None  # it was sent again since
            half_of = planned.get(one.shard_id)
            yield StagedShard(
                attempt=one.attempt,
                index=indexes[half_of or one.shard_id],
                shard_id=one.shard_id,
                model=one.model,
                requests=one.requests,
                receipt=receipt,
                actual_cost=used,
                half_of=half_of,
                answering=answering.get(folder),
                has_refused="refused.parquet" in there,
            )

    def _splits_of(self, run: RunFolder, shards: Sequence[SentShard]) -> dict[str, Split]:
        """How shards of an attempt were split."""
        (begun,) = self._receipts.names(run.path, [_below(run, str(run.splits(shards[0].attempt)))])
        ids = [name.removesuffix(".json") for name in begun if name.endswith(".json")]
        paths = [_below(run, str(shards[0]._replace(shard_id=shard_id).folder(run).split)) for shard_id in ids]
        read = zip(ids, self._splits.read(run.path, paths) if paths else (), strict=True)
        return {shard_id: split for shard_id, split in read if split is not None}

    def _answering(self, run: RunFolder, folders: Sequence[str]) -> Mapping[str, LiveProgress]:
        """How far the shards of these folders are that are being answered live."""
        lives = [f"{folder}/live" for folder in folders]
        found = {
            folder: f"{live}/{name}"
            for folder, live, names in zip(folders, lives, self._progress.names(run.path, lives), strict=True)
            if (name := progress_name(names))
        }
        read = zip(found, self._progress.read(run.path, found.values()), strict=True)
        return {folder: progress for folder, progress in read if progress is not None}


def _below(run: RunFolder, path: str) -> str:
    return path.removeprefix(f"{run}/")
