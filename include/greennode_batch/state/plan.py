"""Plan: plan.<n>.json, what a run sends. A build writes it last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from greennode_batch.errors import ConfigError
from greennode_batch.job.prices import Prices, amount
from greennode_batch.staging.folders import RunFolder, read_json, write_json
from greennode_batch.state.column_limit import ColumnLimit
from greennode_batch.state.cost_estimate import Estimate, total
from greennode_batch.state.document import Document
from greennode_batch.state.row_owner import RowOwner, run_order
from greennode_batch.state.run_identity import RemovedRun
from greennode_batch.wording import counted

PILOT_REQUESTS = 100
"""How many requests a pilot has at most."""


class Plan(Document, frozen=True):
    """plan.<n>.json: what a run sends, from its n-th build."""

    job: str
    run_id: str
    created_at: float
    """Epoch seconds."""
    key: tuple[str, ...]
    models: tuple[str, ...]
    """The models of this run, which may be only some of the job's."""
    rows: int
    """Source rows times models and samples. Includes `unsent` and `copied` rows, but not `unchanged` and `remembered`
    ones.
    """
    requests: int
    unsent: int
    """Rows that have no request to send, for example because the prompt is empty or too long."""
    bytes: int
    longest: LongestRequest
    prompt_hash: str
    shards: tuple[PlannedShard, ...]
    unchanged: int = 0
    """Rows whose request every target has already answered."""
    orphaned: OrphanedRows | None = msgspec.field(default=None, name="left")
    """Target rows that the source no longer has; None if the build did not look for them."""
    target_key: tuple[str, ...] = ()
    """The primary key of the target."""
    estimate: Estimate | None = None
    """What the run may use and cost, by `prices`."""
    is_counted: bool = False
    """Whether the job's tokenizer counted the shards' prompt tokens; otherwise they go by the length of the texts."""
    prices: Prices | None = None
    """The known prices of the run's models."""
    job_id: str = ""
    """The id of the job that owns the run's rows in the target."""
    data_until: float | None = None
    """The end of the run's data interval, in epoch seconds; None if it has none."""
    remembered: dict[str, int] = msgspec.field(default_factory=dict)
    """Rows, by status, for whose request the targets have a final outcome without an answer."""
    attempts: int = 0
    """How many times the job sends a request at most; 0 if unknown."""
    answered_before: int = 0
    """Rows that are sent although a target has a good answer for them, to this request or another one."""
    superseded: int = 0
    """Rows that are not sent because the targets have them from a run of later data, which this run may not overwrite.
    """
    pilot: str | None = None
    """The shard whose results must be read before any other is sent; None if the run needs no pilot."""
    max_shard_tokens: dict[str, int] = msgspec.field(default_factory=dict)
    """By model, the most prompt tokens of a shard that was built, by estimate: the server had named this limit before.
    """
    answer_limits: tuple[ColumnLimit, ...] = ()
    """What existing columns of the targets hold, where the answer model allows more."""

    def __post_init__(self) -> None:
        """Derive the target's key in a plan.json of an earlier version, which has none."""
        if not self.target_key:
            several = ("model",) if len(self.models) > 1 else ()
            msgspec.structs.force_setattr(self, "target_key", (*self.key, *several))

    @property
    def owner(self) -> RowOwner:
        """The owner of the run's rows."""
        # A plan of an earlier version has no job_id: its run keeps that, and the job takes the rows over later.
        return RowOwner(self.run_id, self.job_id or None, run_order(self.data_until, self.created_at))

    @property
    def prompt_tokens(self) -> dict[str, int]:
        """Estimated prompt tokens by model, from the texts alone."""
        return self._by_model(lambda shard: shard.prompt_tokens)

    @property
    def max_completion_tokens(self) -> dict[str, int | None]:
        """The most completion tokens by model; None if one of its answers has no limit."""
        return {
            model: total(
                shard.max_completion_tokens for shard in self.shards if shard.model == model and shard.requests
            )
            for model in self.models
        }

    @property
    def requests_by_model(self) -> dict[str, int]:
        """The number of requests by model."""
        return self._by_model(lambda shard: shard.requests)

    def _by_model(self, number: Callable[[PlannedShard], int]) -> dict[str, int]:
        return {model: sum(number(shard) for shard in self.shards if shard.model == model) for model in self.models}

    @property
    def repeated(self) -> int:
        """Rows that share another row's request: they get its answer and cost nothing."""
        return self.rows - self.unsent - self.requests - self.copied

    @property
    def copied(self) -> int:
        """Rows whose answer is copied from one target to another, at no cost."""
        return sum(shard.rows for shard in self.shards if shard.copied_into)

    @property
    def repeat_warning(self) -> str:
        """A warning with the number of answered rows that are sent again, and their cost; empty if there are none."""
        if not self.answered_before:
            return ""
        share = self.answered_before / max(1, self.rows - self.unsent - self.copied)
        estimate, price = self.estimate, ""
        if estimate is not None and estimate.cost is not None:
            price = f", for about {amount(estimate.cost * share, estimate.currency)}"
        rows = counted(self.answered_before, "row has", "rows have")
        return (
            f"{rows} a good answer in a target already, to this request or another one, and will be sent again{price}"
        )

    def writes(self, shard_id: str, target_id: str) -> bool:
        """Whether the rows of a shard are written into this target."""
        return all(one.goes_into(target_id) for one in self.shards if one.shard_id == shard_id)

    def for_target(self, target_id: str) -> Plan:
        """The plan for one target, without the shards that are copied only into other targets."""
        return msgspec.structs.replace(self, shards=tuple(one for one in self.shards if one.goes_into(target_id)))

    def __str__(self) -> str:
        unchanged = f", {counted(self.unchanged, 'row')} unchanged since an earlier run" if self.unchanged else ""
        if self.remembered:
            unchanged += f", {remembered_rows(self.remembered)}"
        if self.superseded:
            unchanged += f", {counted(self.superseded, 'row')} left to a run of later data"
        copied = f", {counted(self.copied, 'row')} copied from one target to another" if self.copied else ""
        first = next((shard.requests for shard in self.shards if shard.shard_id == self.pilot), 0)
        pilot = (
            f". A pilot of {counted(first, 'request')} goes first; its results are read before the rest"
            if first
            else ""
        )
        return (
            f"{counted(self.rows, 'row')}: {counted(self.requests, 'request')} in "
            f"{counted(self.submitted_shards, 'shard')} ({self.bytes / 1e6:,.1f} MB), "
            f"{counted(self.repeated, 'row shares', 'rows share')} another row's request, {self.unsent:,} unsent"
            f"{copied}{unchanged}{pilot}{f'. {self.orphaned}' if self.orphaned and self.orphaned.count else ''}"
        )

    @property
    def answers_for(self) -> int:
        """All rows of the source, times models and samples: those it sends and those that another run settled."""
        return self.rows + self.unchanged + sum(self.remembered.values()) + self.superseded

    @property
    def submitted_shards(self) -> int:
        """The number of shards with requests. A shard with only unsent rows is joined, but never submitted."""
        return sum(shard.requests > 0 for shard in self.shards)


def remembered_rows(statuses: Mapping[str, int]) -> str:
    """Describe the rows whose outcome an earlier run found to be final. statuses: the rows by status."""
    listed = ", ".join(f"{count:,} {status}" for status, count in statuses.items())
    rows = counted(sum(statuses.values()), "row is", "rows are")
    return f"{rows} not sent again, because the outcome of the same request is final ({listed})"


def read_plan(run: RunFolder) -> Plan | None:
    """Read the run's plan, or None if it is not built yet."""
    return read_json(run.plan, Plan)


def note_limits(run: RunFolder, plan: Plan, limits: Iterable[ColumnLimit]) -> Plan:
    """Return the plan with these limits of the answer's columns, and update plan.json if it still holds this plan."""
    noted = msgspec.structs.replace(plan, answer_limits=tuple(limits))
    if noted != plan and read_plan(run) == plan:
        write_json(run.plan, noted)
    return noted


def limits_of(run: RunFolder) -> tuple[ColumnLimit, ...]:
    """What the targets' columns hold of the run's answers; empty for a run without a plan."""
    plan = read_plan(run)
    return () if plan is None else plan.answer_limits


def refuse_removed(run: RunFolder) -> None:
    """Raise ConfigError before a build of a run whose staging was removed by retention."""
    removed = read_json(run.removed, RemovedRun)
    if removed is not None:
        raise ConfigError(
            f"{run}: this run's staging was removed on {removed.day}. Building the run again would send all its rows "
            f"again, and you would pay again. Trigger a new run, or delete {run.removed} to build this one anyway"
        )


def refuse_emptied(run: RunFolder) -> None:
    """Raise ConfigError before a later step of a run whose staging was removed by retention."""
    removed = read_json(run.removed, RemovedRun)
    if removed is not None:
        raise ConfigError(
            f"{run}: this run's staging was removed on {removed.day} by retention, so its answers cannot be written "
            "again. The rows in the target are untouched. To send the rows again, and pay again, trigger a new run. To "
            "keep staging longer, raise staging_retention_days"
        )


class PlannedShard(msgspec.Struct, frozen=True):
    """One batch file."""

    shard_id: str
    model: str
    requests: int
    rows: int
    """The source rows that it answers: more than `requests` if several rows share a request."""
    bytes: int
    prompt_tokens: int
    """An estimate by the length of the texts, or the count of the job's tokenizer. Images are not included."""
    max_completion_tokens: int | None = None
    """The most that its answers may have; None if one of them has no limit."""
    copied_into: tuple[str, ...] = ()
    """The ids of the targets that get a copy of answers from another target; such a shard has no requests.

    Empty for any other shard, whose rows go into every target.
    """

    def goes_into(self, target_id: str) -> bool:
        """Whether the shard's rows are written into this target."""
        return not self.copied_into or target_id in self.copied_into


class LongestRequest(msgspec.Struct, frozen=True):
    """The longest request line of a run, and the row that it belongs to."""

    bytes: int
    row: str


class OrphanedRows(msgspec.Struct, frozen=True):
    """Target rows whose keys the source no longer has."""

    count: int
    shown: str
    """The first of their keys, for a message."""
    removed: bool
    """Whether the run removed them from the target."""
    not_requested: int = msgspec.field(default=0, name="not_requested")
    """Further rows, of models or samples that the run does not ask. The run did not check them."""

    def __str__(self) -> str:
        are = "is" if self.count == 1 else "are"
        done = ("was removed" if self.count == 1 else "were removed") if self.removed else "stay"
        return f"{counted(self.count, 'row')} of the target {are} no longer in the source and {done}: {self.shown}"
