"""The account of a run as report.json keeps it, and as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from greennode_batch.job.prices import amount
from greennode_batch.state.actual_cost import ActualCost, AttemptReport, CanaryCost, ModelCost
from greennode_batch.state.cost_estimate import Estimate
from greennode_batch.state.document import Document
from greennode_batch.state.plan import OrphanedRows, remembered_rows
from greennode_batch.state.row_status import RowStatus
from greennode_batch.wording import counted


class RunReport(Document, frozen=True):
    """report.json: a run's rows by status, what was asked and paid for it, and whether it all adds up.

    anomalies: lines of result files that settle no request, by kind; anomaly_files: where they are kept. superseded:
    rows that a later run has written over or removed. taken_over: rows of which another job, which shares the target,
    has written later. kept_answers: rows without an answer whose place in the target a good answer of an earlier run
    keeps. over_capacity: batches that the server refused for lack of capacity, and that
    cost nothing. lost: batches that were given up, by what became of them. copied: rows among these whose answer was
    copied from one target to another; copied_failures: those of them whose final outcome was. unchanged: rows beside
    these whose answer every target has since an earlier run.
    remembered: rows beside these whose final outcome it has since an earlier run, by status. orphaned: rows of the
    target that are not in the source. problems: what does not
    add up, in words.

    Tokens and cost are what the results say of all attempts; cost is None where a price is not known, saving what the
    same would have cost more live. canaries: the first requests, which come on top. estimate: as the plan has
    it. over_budget: which attempts were not sent, or not all of them, and why. What each shard has used is in
    spend.json, beside this file.
    """

    job: str
    run_id: str
    rows: int
    requests: int
    shards: int
    statuses: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    attempts: tuple[AttemptReport, ...] = ()
    anomalies: dict[str, int] = msgspec.field(default_factory=dict)
    anomaly_files: tuple[str, ...] = ()
    superseded: int = 0
    taken_over: int = 0
    kept_answers: int = 0
    over_capacity: int = msgspec.field(default=0, name="turned_away")
    lost: dict[str, int] = msgspec.field(default_factory=dict)
    unchanged: int = 0
    remembered: dict[str, int] = msgspec.field(default_factory=dict)
    copied: int = 0
    copied_failures: int = 0
    orphaned: OrphanedRows | None = msgspec.field(default=None, name="left")
    balanced: bool = True
    problems: tuple[str, ...] = ()
    prompt_hash: str = ""
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float | None = None
    saving: float | None = None
    currency: str = ""
    estimate: Estimate | None = None
    models: tuple[ModelCost, ...] = ()
    canaries: CanaryCost | None = None
    started_at: float = 0.0
    ended_at: float = 0.0
    over_budget: tuple[str, ...] = ()

    @property
    def succeeded(self) -> int:
        """Rows with an answer."""
        return self.statuses.get(RowStatus.SUCCEEDED, 0)

    @property
    def answers_for(self) -> int:
        """All rows that the run answers for: what it asked, and what it left as an earlier run left it."""
        return self.rows + self.unchanged + sum(self.remembered.values())

    @property
    def answered_requests(self) -> int:
        """Requests that got an answer in one of the attempts."""
        answered = sum(attempt.statuses.get(RowStatus.SUCCEEDED, 0) for attempt in self.attempts)
        return min(answered, self.requests)

    @property
    def summary(self) -> str:
        """The rows and what they cost, in one line."""
        return (
            f"{counted(self.rows, 'row')} ({_listed(self.statuses)}) from {counted(self.requests, 'request')} in "
            f"{counted(self.shards, 'shard')}; {_tokens(self)}"
        )

    def __str__(self) -> str:
        prompt = [f"prompt {self.prompt_hash}"] if self.prompt_hash else []
        wrong = (f"Does not add up: {words}" for words in self.problems)
        return "\n".join([self.summary, *prompt, *self._money(), *self._remarks(), *wrong])

    def _money(self) -> list[str]:
        if not self.requests:
            return []
        said = [*self.over_budget, f"Cost: {self._paid(self)}"]
        if self.estimate is not None:
            said.append(f"It was estimated before: {str(self.estimate).removeprefix('estimate: ')}")
        if len(self.models) > 1:
            said += [f"{one.model}: {_listed(one.statuses)}; {_tokens(one)}; {self._paid(one)}" for one in self.models]
        tried = self.canaries
        if tried is not None and tried.requests:
            requests = counted(tried.requests, "request was", "requests were")
            said.append(f"On top, {requests} tried live: {_tokens(tried)}; {self._paid(tried)}")
        return said

    def _paid(self, actual_cost: ActualCost | RunReport) -> str:
        if actual_cost.cost is None:
            return "no price known"
        saving = f", {amount(actual_cost.saving, self.currency)} less than live" if actual_cost.saving else ""
        return f"{amount(actual_cost.cost, self.currency)}{saving}"

    def _remarks(self) -> list[str]:
        said = [f"{counted(self.unchanged, 'row')} unchanged since an earlier run"] if self.unchanged else []
        if self.remembered:
            said.append(f"{remembered_rows(self.remembered)}; retry_final=True asks again")
        if self.copied:
            said.append(f"{counted(self.copied, 'row was', 'rows were')} copied from one target to another, at no cost")
        said += [str(self.orphaned)] if self.orphaned and self.orphaned.count else []
        said += [
            f"{counted(one.requests, 'request was', 'requests were')} asked again in attempt {one.attempt}: "
            f"{_listed(one.statuses)}"
            for one in self.attempts[1:]
        ]
        if self.anomalies:
            more = len(self.anomaly_files) - 1
            said.append(
                f"{counted(sum(self.anomalies.values()), 'line')} of the result files settled no request "
                f"({_listed(self.anomalies)}); see {self.anomaly_files[0]}"
                f"{f' and {more:,} more of that name' if more else ''}"
            )
        if self.over_capacity:
            said.append(
                f"{counted(self.over_capacity, 'batch was', 'batches were')} refused for lack of "
                "capacity and sent again, "
                "at no cost"
            )
        if self.lost:
            batches = counted(sum(self.lost.values()), "batch was", "batches were")
            said.append(f"{batches} given up ({_listed(self.lost)}), and may have been billed all the same")
        if self.kept_answers:
            rows = counted(self.kept_answers, "row without an answer keeps", "rows without an answer keep")
            said.append(f"{rows} the good answer of an earlier run in the target")
        if self.superseded:
            rows = counted(self.superseded, "row was", "rows were")
            said.append(f"{rows} written over or removed by a later run")
        if self.taken_over:
            rows = counted(self.taken_over, "row was", "rows were")
            said.append(f"{rows} written over by another job that shares the target")
        return said


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items()) or "none"


def _tokens(actual_cost: ActualCost | RunReport) -> str:
    return (
        f"{actual_cost.prompt_tokens:,} prompt{_part(actual_cost.cached_tokens, 'cached')} and "
        f"{actual_cost.completion_tokens:,} completion tokens{_part(actual_cost.reasoning_tokens, 'reasoning')}"
    )


def _part(count: int, what: str) -> str:
    return f" ({count:,} {what})" if count else ""
