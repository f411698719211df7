"""RunReport: report.json, what became of a run's rows and tokens, and the same as text."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from greennode_batch.job.prices import amount
from greennode_batch.staging.folders import RunFolder, read_json
from greennode_batch.state.actual_cost import ActualCost, AttemptReport, CanaryCost, LiveCost, ModelCost
from greennode_batch.state.cost_estimate import Estimate
from greennode_batch.state.document import Document
from greennode_batch.state.plan import OrphanedRows, Plan, remembered_rows
from greennode_batch.state.row_status import RowStatus
from greennode_batch.state.split import split_summary
from greennode_batch.wording import counted


class RunReport(Document, frozen=True):
    """report.json: a run's rows by status, what it sent and paid, and whether it all adds up.

    Tokens and cost include all attempts, according to the results. spend.json, beside this file, has them by shard.
    """

    job: str
    run_id: str
    rows: int
    """Source rows times models and samples, without `unchanged`, `remembered` and `left_to_later` ones."""
    requests: int
    shards: int
    statuses: dict[str, int]
    """The rows by status."""
    prompt_tokens: int
    completion_tokens: int
    attempts: tuple[AttemptReport, ...] = ()
    anomalies: dict[str, int] = msgspec.field(default_factory=dict)
    """Lines of result files that settled no request, by kind."""
    anomaly_files: tuple[str, ...] = ()
    """The files that hold these lines."""
    superseded: int = 0
    """Rows of this run that a later run has overwritten or removed."""
    taken_over: int = 0
    """Rows that another job, which shares the target, has overwritten."""
    kept_answers: int = 0
    """Rows without an answer in this run that keep the good answer of an earlier run in the target."""
    over_capacity: int = msgspec.field(default=0, name="turned_away")
    """Batches that the server refused because it had no capacity; they cost nothing."""
    repeated: int = 0
    """Batches that a gateway or a late create made beside a shard's own, and that were cancelled."""
    lost: dict[str, int] = msgspec.field(default_factory=dict)
    """Batches that were given up, by the reason."""
    unchanged: int = 0
    """Further rows, whose answer every target has from an earlier run."""
    remembered: dict[str, int] = msgspec.field(default_factory=dict)
    """Further rows, by status, whose final outcome the targets have from an earlier run."""
    left_to_later: int = 0
    """Further rows, which every target has from a run of later data, for another request."""
    copied: int = 0
    """Rows whose outcome was copied from one target to another; `rows` includes them."""
    copied_failures: int = 0
    """Copied rows whose final outcome is not an answer; `copied` includes them."""
    orphaned: OrphanedRows | None = msgspec.field(default=None, name="left")
    """Target rows that the source no longer has; None if the build did not look for them."""
    balanced: bool = True
    """Whether source, shards, results and targets add up."""
    problems: tuple[str, ...] = ()
    """What does not add up, in words."""
    prompt_hash: str = ""
    cached_tokens: int = 0
    """Included in `prompt_tokens`."""
    reasoning_tokens: int = 0
    """Included in `completion_tokens`."""
    cost: float | None = None
    """None if a price is unknown."""
    saving: float | None = None
    """How much more the same would have cost live."""
    currency: str = ""
    estimate: Estimate | None = None
    """The estimate from the plan."""
    models: tuple[ModelCost, ...] = ()
    canaries: CanaryCost | None = None
    """What the canaries used; not included in the other numbers."""
    live: LiveCost | None = None
    """What was answered live; included in the other numbers. None if nothing was."""
    started_at: float = 0.0
    """Epoch seconds."""
    ended_at: float = 0.0
    """Epoch seconds."""
    split: int = 0
    """Shards that were larger than the server's limit on enqueued tokens, and were split."""
    enqueued_limit: int = 0
    """The lowest such limit, in prompt tokens; 0 if none was reached."""
    over_budget: tuple[str, ...] = ()
    """The attempts that the budget stopped, wholly or in part, and why."""

    @property
    def succeeded(self) -> int:
        """How many rows have an answer."""
        return self.statuses.get(RowStatus.SUCCEEDED, 0)

    @property
    def answers_for(self) -> int:
        """All rows that the run accounts for: those it sent and those that another run settled."""
        return self.rows + self.unchanged + sum(self.remembered.values()) + self.left_to_later

    @property
    def answered_requests(self) -> int:
        """How many requests got an answer in one of the attempts."""
        answered = sum(attempt.statuses.get(RowStatus.SUCCEEDED, 0) for attempt in self.attempts)
        return min(answered, self.requests)

    @property
    def summary(self) -> str:
        """The rows, requests and tokens in one line."""
        return (
            f"{counted(self.rows, 'row')} ({_listed(self.statuses)}) from {counted(self.requests, 'request')} in "
            f"{counted(self.shards, 'shard')}; {_tokens(self)}"
        )

    def __str__(self) -> str:
        prompt = [f"Hash of the prompt: {self.prompt_hash}"] if self.prompt_hash else []
        wrong = (f"Does not add up: {words}" for words in self.problems)
        return "\n".join([self.summary, *prompt, *self._money(), *self._remarks(), *wrong])

    def _money(self) -> list[str]:
        if not self.requests:
            return []
        said = [*self.over_budget, f"Cost: {self._paid(self)}"]
        if self.estimate is not None:
            said.append(f"Estimated before the run: {str(self.estimate).removeprefix('estimate: ')}")
        if len(self.models) > 1:
            said += [f"{one.model}: {_listed(one.statuses)}; {_tokens(one)}; {self._paid(one)}" for one in self.models]
        said += [] if self.live is None else self._live(self.live)
        tried = self.canaries
        if tried is not None and tried.requests:
            requests = counted(tried.requests, "request was", "requests were")
            said.append(f"In addition, {requests} tried live: {_tokens(tried)}; {self._paid(tried)}")
        return said

    def _live(self, live: LiveCost) -> list[str]:
        requests = counted(live.requests, "request was", "requests were")
        said = [f"Of this, {requests} answered live: {_tokens(live)}; {self._paid(live)}"]
        if live.may_be_paid_twice:
            said.append(
                f"At most {counted(live.may_be_paid_twice, 'live request')} may have been billed more than once: their "
                "replies were lost, or they were in flight when a worker stopped"
            )
        return said

    def _paid(self, actual_cost: ActualCost | RunReport) -> str:
        if actual_cost.cost is None:
            return "no price known"
        saving = f", {amount(actual_cost.saving, self.currency)} less than live" if actual_cost.saving else ""
        return f"{amount(actual_cost.cost, self.currency)}{saving}"

    def _not_sent(self) -> list[str]:
        """What became of the rows that the run did not have to send."""
        said = [f"{counted(self.unchanged, 'row')} unchanged since an earlier run"] if self.unchanged else []
        if self.remembered:
            said.append(f"{remembered_rows(self.remembered)}; retry_final=True sends them again")
        if self.left_to_later:
            rows = counted(self.left_to_later, "row was", "rows were")
            said.append(f"{rows} left to a run of later data, which has asked something else of them")
        if self.copied:
            said.append(f"{counted(self.copied, 'row was', 'rows were')} copied from one target to another, at no cost")
        return said

    def _remarks(self) -> list[str]:
        said = self._not_sent()
        said += [str(self.orphaned)] if self.orphaned and self.orphaned.count else []
        said += [
            f"{counted(one.requests, 'request was', 'requests were')} sent again in attempt {one.attempt}: "
            f"{_listed(one.statuses)}"
            for one in self.attempts[1:]
        ]
        if self.anomalies:
            more = len(self.anomaly_files) - 1
            said.append(
                f"{counted(sum(self.anomalies.values()), 'line')} of the result files settled no request "
                f"({_listed(self.anomalies)}); see {self.anomaly_files[0]}"
                f"{f' and {more:,} more files of that name' if more else ''}"
            )
        said += [split_summary(self.split, self.enqueued_limit)] if self.split else []
        if self.over_capacity:
            said.append(
                f"{counted(self.over_capacity, 'batch was', 'batches were')} refused because the server had no "
                "capacity, and sent again at no cost"
            )
        if self.repeated:
            batches = counted(self.repeated, "more batch was", "more batches were")
            said.append(
                f"{batches} created of the run's files, by a gateway or late, and cancelled; what was answered "
                "before that may have been billed as well"
            )
        if self.lost:
            batches = counted(sum(self.lost.values()), "batch was", "batches were")
            said.append(f"{batches} given up ({_listed(self.lost)}) and may have been billed nevertheless")
        if self.kept_answers:
            rows = counted(self.kept_answers, "row without an answer keeps", "rows without an answer keep")
            said.append(f"{rows} the good answer of an earlier run in the target")
        if self.superseded:
            rows = counted(self.superseded, "row was", "rows were")
            said.append(f"{rows} overwritten or removed by a later run")
        if self.taken_over:
            rows = counted(self.taken_over, "row was", "rows were")
            said.append(f"{rows} overwritten by another job that shares the target")
        return said


def is_balanced(run: RunFolder, plan: Plan) -> bool:
    """Whether the run's report found all rows of this plan in the targets."""
    made = read_json(run.report, RunReport)
    return made is not None and made.balanced and made.started_at == plan.created_at


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items()) or "none"


def _tokens(actual_cost: ActualCost | RunReport) -> str:
    return (
        f"{actual_cost.prompt_tokens:,} prompt{_part(actual_cost.cached_tokens, 'cached')} and "
        f"{actual_cost.completion_tokens:,} completion tokens{_part(actual_cost.reasoning_tokens, 'reasoning')}"
    )


def _part(count: int, what: str) -> str:
    return f" ({count:,} {what})" if count else ""
