"""Plan: what a run asks, written last by the build."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from greennode_batch.errors import ConfigError
from greennode_batch.job.prices import Prices, amount
from greennode_batch.staging.folders import RunFolder, read_json
from greennode_batch.state.cost_estimate import Estimate, total
from greennode_batch.state.document import Document
from greennode_batch.state.row_owner import RowOwner, run_order
from greennode_batch.state.run_identity import RemovedRun
from greennode_batch.wording import counted


class Plan(Document, frozen=True):
    """plan.<n>.json: what a run asks, by its n-th build.

    `rows` counts source rows times models and samples; `unsent` what is not asked.
    `copied` rows are among them: a target has the answer to their request since an earlier run, and another gets it.
    `unchanged` rows come on top: every target has that answer; so do `remembered` ones, by status: there it is final
    that their request has no answer. `answered_before` counts rows that are asked although a target has a good answer
    of them, to this request or another. `attempts`: how often the job asks a request at most, 0 where that is not
    known. `orphaned` are rows of the target that left the source; None where they were not looked for. `target_key`:
    what identifies a row of the target; the run's models do not tell it, for they may be some of the job's. `estimate`:
    what the run may take, by `prices`, those that were known of its models. `is_counted`: the shards' prompt tokens
    were counted by the job's tokenizer, and not taken from the texts' length. `job_id`: whose its rows are in the
    target. `data_until`: the end of the run's data, in epoch seconds, where it has one.
    """

    job: str
    run_id: str
    created_at: float
    key: tuple[str, ...]
    models: tuple[str, ...]
    rows: int
    requests: int
    unsent: int
    bytes: int
    longest: LongestRequest
    prompt_hash: str
    shards: tuple[PlannedShard, ...]
    unchanged: int = 0
    orphaned: OrphanedRows | None = msgspec.field(default=None, name="left")
    target_key: tuple[str, ...] = ()
    estimate: Estimate | None = None
    is_counted: bool = False
    prices: Prices | None = None
    job_id: str = ""
    data_until: float | None = None
    remembered: dict[str, int] = msgspec.field(default_factory=dict)
    attempts: int = 0
    answered_before: int = 0

    def __post_init__(self) -> None:
        """Derive the target's key of a plan.json that was written before it had one."""
        if not self.target_key:
            several = ("model",) if len(self.models) > 1 else ()
            msgspec.structs.force_setattr(self, "target_key", (*self.key, *several))

    @property
    def owner(self) -> RowOwner:
        """Whose its rows are."""
        # What was built by an earlier version goes on as it began; the job takes its rows over later.
        return RowOwner(self.run_id, self.job_id or None, run_order(self.data_until, self.created_at))

    @property
    def prompt_tokens(self) -> dict[str, int]:
        """Prompt tokens by model, by the texts alone."""
        return self._by_model(lambda shard: shard.prompt_tokens)

    @property
    def max_completion_tokens(self) -> dict[str, int | None]:
        """By model, what all answers may have at most; None where one of them has no limit."""
        return {
            model: total(
                shard.max_completion_tokens for shard in self.shards if shard.model == model and shard.requests
            )
            for model in self.models
        }

    @property
    def requests_by_model(self) -> dict[str, int]:
        """Requests by model."""
        return self._by_model(lambda shard: shard.requests)

    def _by_model(self, number: Callable[[PlannedShard], int]) -> dict[str, int]:
        return {model: sum(number(shard) for shard in self.shards if shard.model == model) for model in self.models}

    @property
    def repeated(self) -> int:
        """Rows that ask what another row asks already: joined, and not paid again."""
        return self.rows - self.unsent - self.requests - self.copied

    @property
    def copied(self) -> int:
        """Rows whose answer one target has and another gets: nothing is paid."""
        return sum(shard.rows for shard in self.shards if shard.copied_into)

    @property
    def repeat_warning(self) -> str:
        """How many rows are asked although they have an answer, and about what that costs, in words; empty for none."""
        if not self.answered_before:
            return ""
        share = self.answered_before / max(1, self.rows - self.unsent - self.copied)
        estimate, price = self.estimate, ""
        if estimate is not None and estimate.cost is not None:
            price = f", for about {amount(estimate.cost * share, estimate.currency)}"
        rows = counted(self.answered_before, "row has", "rows have")
        return (
            f"{rows} a good answer in a target already, to this request or to another, and will be asked again{price}"
        )

    def writes(self, shard_id: str, target_id: str) -> bool:
        """Whether the rows of a shard go into this target."""
        return all(one.goes_into(target_id) for one in self.shards if one.shard_id == shard_id)

    def for_target(self, target_id: str) -> Plan:
        """The plan as far as one target is concerned: shards that are copied into others alone are not in it."""
        return msgspec.structs.replace(self, shards=tuple(one for one in self.shards if one.goes_into(target_id)))

    def __str__(self) -> str:
        unchanged = f", {counted(self.unchanged, 'row')} unchanged since an earlier run" if self.unchanged else ""
        if self.remembered:
            unchanged += f", {remembered_rows(self.remembered)}"
        copied = f", {counted(self.copied, 'row')} copied from one target to another" if self.copied else ""
        return (
            f"{counted(self.rows, 'row')}: {counted(self.requests, 'request')} in "
            f"{counted(self.submitted_shards, 'shard')} ({self.bytes / 1e6:,.1f} MB), "
            f"{counted(self.repeated, 'row shares', 'rows share')} another row's request, {self.unsent:,} unsent"
            f"{copied}{unchanged}{f'. {self.orphaned}' if self.orphaned and self.orphaned.count else ''}"
        )

    @property
    def answers_for(self) -> int:
        """All rows that the run answers for: what it asks, and what it leaves as an earlier run left it."""
        return self.rows + self.unchanged + sum(self.remembered.values())

    @property
    def submitted_shards(self) -> int:
        """Shards that hold a request. One that holds unsent rows alone is joined, never submitted."""
        return sum(shard.requests > 0 for shard in self.shards)


def remembered_rows(statuses: Mapping[str, int]) -> str:
    """Rows whose final outcome an earlier run has found, in words. statuses: how many there are of each."""
    told = ", ".join(f"{count:,} {status}" for status, count in statuses.items())
    rows = counted(sum(statuses.values()), "row is", "rows are")
    return f"{rows} not asked again, for the outcome of the same request is final ({told})"


def read_plan(run: RunFolder) -> Plan | None:
    """The run's plan, or None if it is not built."""
    return read_json(run.plan, Plan)


def refuse_removed(run: RunFolder) -> None:
    """Raise ConfigError for a run whose staging retention has removed."""
    removed = read_json(run.removed, RemovedRun)
    if removed is not None:
        raise ConfigError(
            f"{run}: this run's staging was removed on {removed.day}; building it again would send, and pay for, all "
            f"its rows again. Trigger a new run, or delete {run.removed} to build this one again"
        )


def refuse_emptied(run: RunFolder) -> None:
    """Raise ConfigError where a step after the build is run again of a run whose staging retention has removed."""
    removed = read_json(run.removed, RemovedRun)
    if removed is not None:
        raise ConfigError(
            f"{run}: this run's staging was removed on {removed.day} by retention, so its answers cannot be written "
            "again. What was written into the target is still there, untouched. To ask the rows again, which is paid "
            "again, trigger a new run; to keep staging for longer, raise staging_retention_days"
        )


class PlannedShard(msgspec.Struct, frozen=True):
    """One batch file. `rows`: the source rows that it answers, more than `requests` if some ask the same.

    `prompt_tokens` is an estimate, by the length of the texts, or counted by the job's tokenizer; what a model makes of
    an image is not in it.
    `max_completion_tokens` is what its answers may have at most; None if one of them has no limit.
    `copied_into`: of a shard that has no requests, for its answers are copied from one target: the ids of the targets
    that get them. Empty for any other shard, whose rows go into every target.
    """

    shard_id: str
    model: str
    requests: int
    rows: int
    bytes: int
    prompt_tokens: int
    max_completion_tokens: int | None = None
    copied_into: tuple[str, ...] = ()

    def goes_into(self, target_id: str) -> bool:
        """Whether its rows are written into this target."""
        return not self.copied_into or target_id in self.copied_into


class LongestRequest(msgspec.Struct, frozen=True):
    """The longest line of a run, and the row that asks it."""

    bytes: int
    row: str


class OrphanedRows(msgspec.Struct, frozen=True):
    """Rows of a target whose keys the source has no more. `shown`: the first of these keys, in words.

    `not_requested`: how many rows beside these are of a model or sample that the run does not ask; they were not looked
    at.
    """

    count: int
    shown: str
    removed: bool
    not_requested: int = msgspec.field(default=0, name="not_requested")

    def __str__(self) -> str:
        done = "were removed" if self.removed else "stay"
        return f"{self.count:,} rows of the target are not in the source (any more), and {done}: {self.shown}"
