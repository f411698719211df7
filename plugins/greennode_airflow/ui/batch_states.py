"""Batch states: what the page shows for a shard and its batch, from staging, the server and its run."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from greennode_airflow.ui.run_states import RunFacts, rate_words
from greennode_airflow.ui.state_row import Row
from greennode_batch.wording import counted


class BatchFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a shard and its batch. stage: from staging.

    said: the server's status, as a name of BatchStatus, empty if it has reported none. ended: the same at the time
    when its files were collected. over_capacity: how often the server refused it for lack of capacity.
    cancelled_by: who has cancelled it, if Airflow knows. is_pilot: whether it is sent before all others. is_live:
    whether it was answered live. answered, requests, per_second: of live answering, so far.
    """

    stage: str
    run: RunFacts
    said: str = ""
    ended: str = ""
    lost: str = ""
    over_capacity: int = 0
    cancelled_by: str = ""
    is_pilot: bool = False
    is_live: bool = False
    answered: int = 0
    requests: int = 0
    per_second: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether the run is over, so that nothing continues without a person."""
        return self.run.state not in {"queued", "running"}

    @property
    def is_unsent(self) -> bool:
        """Whether it has no batch."""
        return self.stage in {"built", "refused"}

    @property
    def fields(self) -> dict[str, str]:
        """The values that a row's words may use."""
        collected = "Clear wait_for_batch with all that is downstream, and its finished answers are collected"
        return {
            **self.run.fields,
            "by": f" by {self.cancelled_by}" if self.cancelled_by else "",
            "times": counted(self.over_capacity, "time"),
            "answered": f"{self.answered:,} of {counted(self.requests, 'request')}",
            "rate": rate_words(self.per_second),
            "then": f"{collected}." if self.is_over else "Nothing to do: its finished answers are collected.",
        }


def _said(*words: str) -> Callable[[BatchFacts], bool]:
    return lambda batch: batch.stage in {"sent", "cancelling"} and batch.said in words


def _ended(word: str) -> Callable[[BatchFacts], bool]:
    return lambda batch: batch.stage == "collected" and batch.ended == word


BATCH_STATES: tuple[Row[BatchFacts], ...] = (
    # Without a batch at GreenNode.
    Row(
        "dry-run", "of a dry run", lambda batch: batch.is_unsent and batch.run.is_dry_run,
        "not sent", "idle", "A dry run sends nothing.",
    ),
    Row(
        "rejected", "of a run that a person rejected", lambda batch: batch.is_unsent and batch.run.was_rejected,
        "not sent", "idle", "Not sent: {who} rejected the run.",
    ),
    Row(
        "awaiting-approval", "of a run that waits for a person",
        lambda batch: batch.is_unsent and not batch.is_over and batch.run.is_parked("approve_spend"),
        "awaiting approval", "idle", "Not sent: a person has to approve the run.",
    ),
    Row(
        "no-credit", "of a run that has no credit",
        lambda batch: batch.is_unsent and batch.run.staged.no_credit is not None,
        "no credit", "bad", "Not sent: the credit has run out.", "Top up, then clear its submit_batch.",
    ),
    Row(
        "never-sent", "not sent when its run ended", lambda batch: batch.is_unsent and batch.is_over,
        "not sent", "idle", "Not sent when the run ended.", "Clear its submit_batch with all that is downstream.",
    ),
    Row(
        "refused", "refused for lack of capacity", lambda batch: batch.stage == "refused",
        "waiting for capacity", "idle", "Refused {times} for lack of capacity, at no cost; it is sent again.",
    ),
    Row(
        "after-pilot", "waiting for the results of the pilot",
        lambda batch: batch.stage == "built" and not batch.is_pilot and batch.run.awaits_pilot,
        "waiting for the pilot", "idle", "Sent once results of this run's first, small batch were read.",
    ),
    Row(
        "held-back", "waiting to be sent, and all submit_batch tasks under way wait",
        lambda batch: batch.stage == "built" and batch.run.is_parked("submit_batch"),
        "waiting for capacity", "idle", "Waiting for capacity at GreenNode, or for the connection's own limits.",
    ),
    Row("built", "built", lambda batch: batch.stage == "built", "not sent yet", "idle", "Not sent yet."),
    # Answered live.
    Row(
        "answering", "being answered live", lambda batch: batch.stage == "answering" and not batch.is_over,
        "being answered live", "busy", "Being answered live: {answered}{rate}.",
    ),
    Row(
        "answered-in-part", "answered live in part when its run ended", lambda batch: batch.stage == "answering",
        "answered in part", "idle", "Answered live in part: {answered}. These answers are saved.",
        "Clear its submit_batch with all that is downstream; it goes on there.",
    ),
    # At GreenNode, according to staging.
    Row(
        "cancelled", "the server has cancelled it", _said("CANCELLED"),
        "cancelled", "bad", "Cancelled at GreenNode{by}, and not collected.", "{then}",
    ),
    Row(
        "expired", "the server has let it expire", _said("EXPIRED"),
        "expired", "bad", "Its time at GreenNode has run out; not collected yet.", "{then}",
    ),
    Row(
        "failed", "the server reports that it failed", _said("FAILED"),
        "failed", "bad", "Failed at GreenNode; not collected yet.", "{then}",
    ),
    Row(
        "ended", "the server has completed it", _said("COMPLETED"),
        "ended", "busy", "Ended at GreenNode; not collected yet.", "{then}",
    ),
    Row(
        "cancelling", "being cancelled",
        lambda batch: batch.stage == "cancelling" or _said("CANCELLING")(batch),
        "being cancelled", "busy", "GreenNode was asked to end it{by}.", "{then}",
    ),
    Row(
        "left-behind", "its run is over, and the server has not reported its state",
        lambda batch: batch.stage == "sent" and batch.is_over and not batch.said,
        "not collected", "idle", "Was at GreenNode when the run ended.", "{then}",
    ),
    Row(
        "still-running", "its run is over, but the batch is not", lambda batch: batch.stage == "sent" and batch.is_over,
        "at GreenNode", "busy", "Still at GreenNode, although the run is over.",
        "Cancel it, or clear its wait_for_batch with all that is downstream.", ("cancel",),
    ),
    Row(
        "at-server", "at the server", lambda batch: batch.stage == "sent",
        "at GreenNode", "busy", "At GreenNode.", "", ("cancel",),
    ),
    Row(
        "answered", "answered live", lambda batch: batch.stage == "answered",
        "answered live", "busy", "Answered live, without a batch; not collected yet.", "{then}",
    ),
    # Over.
    Row(
        "forgotten", "the server no longer knows it", lambda batch: batch.lost == "forgotten",
        "given up", "bad", "GreenNode no longer knows it; it may have been billed anyway.",
        "Its requests go to the next attempt or run.",
    ),
    Row(
        "overdue", "cancelled at its deadline, and it never ended", lambda batch: batch.stage == "lost",
        "given up", "bad", "Cancelled at its deadline, and never ended; it may have been billed anyway.",
        "Its requests go to the next attempt or run.",
    ),
    Row(
        "collected-cancelled", "collected, after it was cancelled", _ended("CANCELLED"),
        "cancelled", "bad", "Cancelled{by}; its finished answers are collected.",
        "The rest goes to the next attempt or run.",
    ),
    Row(
        "collected-expired", "collected, after its time had run out", _ended("EXPIRED"),
        "expired", "bad", "Its time ran out; its finished answers are collected.",
        "The rest goes to the next attempt or run.",
    ),
    Row(
        "collected-failed", "collected, after it failed", _ended("FAILED"),
        "failed", "bad", "Failed at GreenNode; its finished answers are collected.",
        "The rest goes to the next attempt or run.",
    ),
    Row(
        "collected-live", "answered live, and collected", lambda batch: batch.stage == "collected" and batch.is_live,
        "answered live", "good", "Answered live, without a batch; its answers are collected.",
    ),
    Row(
        "collected", "collected", lambda batch: batch.stage == "collected",
        "collected", "good", "Its answers are collected.",
    ),
    Row("unknown", "anything else", lambda _: True, "unknown", "idle", "A state that this page does not know."),
)  # fmt: skip
BATCH_NAMES = tuple(row.name for row in BATCH_STATES)
