"""Task states: what the page shows for a task, by its state in Airflow."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from greennode_airflow.ui.state_row import Row, sentence


class TaskFacts(msgspec.Struct, frozen=True):
    """A task instance. step: its name in the pipeline."""

    step: str
    state: str
    error: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """The values that a row's words may use."""
        return {"error": sentence(self.error)}


def _is_in(*states: str) -> Callable[[TaskFacts], bool]:
    return lambda task: task.state in states


def _waits_at(*steps: str) -> Callable[[TaskFacts], bool]:
    return lambda task: task.state == "deferred" and task.step in steps


TASK_STATES: tuple[Row[TaskFacts], ...] = (
    Row("none", "no state", _is_in("none"), "not begun", "idle", "Not begun."),
    Row("scheduled", "`scheduled`", _is_in("scheduled"), "about to start", "busy", "Airflow is about to start it."),
    Row(
        "queued", "`queued`", _is_in("queued"), "waiting for a worker", "idle", "Waiting for a free worker.",
        "If this lasts, check Airflow's workers and the pool.",
    ),
    Row("running", "`running`, `restarting`", _is_in("running", "restarting"), "running", "busy", "At work."),
    Row(
        "awaiting-input", "`awaiting_input`, or approve_spend is `deferred`",
        lambda task: task.state == "awaiting_input" or _waits_at("approve_spend")(task),
        "waiting for a person", "idle", "Waiting for a person.",
        "Approve or reject it under Required Actions in Airflow.", ("approve",),
    ),
    Row(
        "waiting-to-send", "submit_batch is `deferred`", _waits_at("submit_batch"),
        "waiting to send", "idle", "Waiting to send, without a worker.",
        "Nothing to do: the batch is sent as soon as it can be.",
    ),
    Row(
        "waiting", "wait_for_batch is `deferred`", _waits_at("wait_for_batch"),
        "waiting for GreenNode", "busy", "Waiting for GreenNode, without a worker.",
    ),
    Row("deferred", "any other is `deferred`", _is_in("deferred"), "waiting", "busy", "Waiting, without a worker."),
    Row(
        "rescheduled", "`up_for_reschedule`", _is_in("up_for_reschedule"),
        "waiting", "idle", "Waiting for its next poll.",
    ),
    Row(
        "tried-again", "`up_for_retry`", _is_in("up_for_retry"), "tried again soon", "idle",
        "Failed, and is tried again soon: {error}.", "Nothing to do, unless it keeps failing.", ("task",),
    ),
    Row("success", "`success`", _is_in("success"), "done", "good", "Done."),
    Row(
        "failed", "`failed`", _is_in("failed"), "failed", "bad", "Failed: {error}.",
        "The top of the page says what to do.", ("task",),
    ),
    Row(
        "upstream-failed", "`upstream_failed`", _is_in("upstream_failed"),
        "not run", "idle", "Not run, because an earlier task failed.", "See that task.",
    ),
    Row("skipped", "`skipped`", _is_in("skipped"), "skipped", "idle", "Skipped: there was nothing for it to do."),
    Row(
        "removed", "`removed`", _is_in("removed"), "removed", "idle",
        "Removed: the run was built again with fewer batches.",
    ),
    Row("unknown", "anything else", lambda _: True, "unknown", "idle", "A state that this page does not know."),
)  # fmt: skip
