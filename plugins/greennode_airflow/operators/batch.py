"""Shard -> batch -> results; and cancel and delete for a batch by its id."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException
from pydantic import BaseModel

from greennode_airflow.failures import ShardFailures, fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.observability.links import SHARD_LINKS
from greennode_airflow.observability.metric_events import count_requests
from greennode_airflow.observability.shard_state import note_shards
from greennode_airflow.runtime.runs import run_job
from greennode_airflow.runtime.shard_groups import Shards, name_of, shards_per_instance, shards_to_send
from greennode_airflow.runtime.shard_steps import ShardSteps
from greennode_airflow.triggers import GreenNodeBatchTrigger, GreenNodePauseTrigger
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import Done
from greennode_batch.batches.wait import SendAgain, deadline_of, poll
from greennode_batch.collect.pilot import open_pilot, refuse_unsettled
from greennode_batch.errors import BusyError, ConfigError, NotFoundError, RetryableError, UnfinishedError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.attempts import FIRST_ATTEMPT
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import is_sent, read_receipt

_PILOT_SECONDS = 15.0
# Of a task that has ended without what it is for.
_OVER = frozenset({"failed", "upstream_failed", "skipped", "removed"})
_AT_WORK = frozenset({"queued", "running"})


class _ShardOperator(BaseOperator):
    """What acts on a shard by its folder (templated), or on each of several, whatever becomes of the others."""

    template_fields: Sequence[str] = ("shard", "greennode_conn_id")
    operator_extra_links = SHARD_LINKS
    ui_color = "#e3f4ea"

    def __init__(
        self, *, shard: Shards, greennode_conn_id: str = GreenNodeHook.default_conn_name, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.shard = shard
        self.greennode_conn_id = greennode_conn_id

    @property
    def shard_name(self) -> str:
        """What Airflow's pages call it: see SHARD_NAME."""
        return name_of(self.shard)


class GreenNodeSubmitBatchOperator(_ShardOperator):
    """Makes one batch of one shard, exactly once however often it runs. Returns the batch's id.

    Where the job says so, it answers the shard live instead, and returns `live`; if it is stopped, what came is kept.

    While the server has no capacity for it, or others are before it in the line of a connection that has limits, the
    task waits in the triggerer and tries again. Where the credit has run out
    it fails for good, and so do the run's shards that were not tried yet; cleared, they are sent.

    shard: the folder that holds `requests.jsonl` (templated); its receipt is kept beside it, so a folder is for
    one batch. Of a list of folders each gets its batch, and so does each half of a shard that was split because it is
    larger than the server's limit on enqueued tokens: then the task returns a list of ids. Where some fail, it fails
    once all others are sent. job: whose run the shard is of; where its plan has a pilot, the task waits in the
    triggerer until results of that were read, by whichever task comes first. on_ambiguous: what to do when a create may
    have been accepted and the server cannot tell.
    """

    def __init__(
        self, *, on_ambiguous: Literal["fail", "resubmit"] = "fail", job: BatchJob | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.on_ambiguous = on_ambiguous
        self.job = job
        self._stop: threading.Event | None = None

    def execute(self, context: Context) -> str | list[str]:
        """Submit, or find what was submitted before."""
        return self._send(context)

    def resume(self, context: Context, event: Any = None) -> str | list[str]:
        """Try again what is not sent: the server had no capacity, others were before, or the pilot was not read."""
        return self._send(context, is_resumed=True)

    @fail_without_retry
    def _send(self, context: Context, *, is_resumed: bool = False) -> str | list[str]:
        shards = shards_to_send(self.shard)
        note_shards(context, shards)
        hook, failures = GreenNodeHook(self.greennode_conn_id), ShardFailures(len(shards))
        # Not before it runs: an operator is copied, which an event is not.
        self._stop = threading.Event()
        job = None if self.job is None else run_job(self.job, context)
        batch_ids: list[str] = []
        pauses: list[float] = []
        with hook.get_conn() as client:
            steps = ShardSteps(
                hook=hook,
                client=client,
                dag_id=self.dag_id,
                job=job,
                on_ambiguous=self.on_ambiguous,
                stop=self._stop,
            )
            pilot = self._pilot(shards, steps)
            for shard in shards:
                if pilot is not None and shard.shard_id != pilot.shard_id and not is_sent(shard):
                    continue
                with failures.held(shard):
                    try:
                        batch_ids.append(steps.send(shard, is_cleared=context["ti"].try_number > 1))
                    except BusyError as error:
                        self.log.warning("%s. Waiting without a worker, then trying again", error)
                        pauses.append(error.retry_after or 0.0)
            if pilot is not None and not pauses and not failures:
                self._follow_pilot(pilot, context, steps, is_resumed=is_resumed)
                return self._send(context)
        note_shards(context, shards)
        if pauses:
            self._defer_for(min(pauses))
        failures.raise_all()
        return batch_ids[0] if isinstance(self.shard, str) and len(shards) == 1 else batch_ids

    def on_kill(self) -> None:
        """Save what live answers have come, and stop."""
        if self._stop is not None:
            self._stop.set()

    def _pilot(self, shards: Sequence[ShardFolder], steps: ShardSteps) -> ShardFolder | None:
        """The pilot whose results are to be read before all of these shards are sent; None for none."""
        if self.job is None or shards[0].attempt != FIRST_ATTEMPT:
            return None
        if time.time() >= steps.schedule(shards[0]).cancel_at:
            return None  # they are answered live
        pilot = open_pilot(shards[0].run, read_plan(shards[0].run), steps.client)
        held = pilot is not None and any(one.shard_id != pilot.shard_id and not is_sent(one) for one in shards)
        return pilot if held else None

    def _follow_pilot(self, pilot: ShardFolder, context: Context, steps: ShardSteps, *, is_resumed: bool) -> None:
        """Return once results of the pilot were read, which is done here if no other task has; wait for that if not."""
        assert self.job is not None
        receipt, now = read_receipt(pilot), time.time()
        schedule = steps.schedule(pilot)
        if receipt is None or not (receipt.is_through or receipt.over_capacity):
            state = self._pilot_task_state(pilot, context)
            if not is_resumed or state in _AT_WORK:
                self.log.info("The pilot, shard %s, is not sent yet; its results are read first", pilot.shard_id)
                self._defer_for(_PILOT_SECONDS)
        try:
            if receipt is None or not receipt.is_through:
                # The pilot's own tasks may be waiting for a slot that is taken by those who wait for it.
                steps.send(pilot, is_cleared=True)
            step = poll(pilot, steps.client, now=now, deadline_seconds=self.job.deadline_seconds, schedule=schedule)
        except RetryableError as error:
            self.log.warning("%s. Polling the pilot again later", error)
            self._defer_for(error.retry_after or _PILOT_SECONDS)
        if isinstance(step, SendAgain):
            self._defer_for(step.seconds)
        receipt = read_receipt(pilot)
        if isinstance(step, Done):
            self._read_pilot(pilot, steps)
        elif receipt is None or receipt.batch_id is None:
            self._defer_for(_PILOT_SECONDS)
        else:
            self.log.info("Waiting for batch %s of the pilot, whose results are to be read first", receipt.batch_id)
            deadline = deadline_of(receipt, now=now, deadline_seconds=self.job.deadline_seconds, schedule=schedule)
            trigger = GreenNodeBatchTrigger(self.greennode_conn_id, receipt.batch_id, deadline, "leave")
            self.defer(trigger=trigger, method_name="resume")

    def _read_pilot(self, pilot: ShardFolder, steps: ShardSteps) -> None:
        from greennode_batch.collect.collect import collect_shard

        assert self.job is not None
        collect_shard(
            pilot,
            steps.client,
            self.job.answer,
            min_read_ratio=self.job.min_read_ratio,
            systematic_failure_ratio=self.job.systematic_failure_ratio,
            explains_errors=self.job.explain_errors,
        )
        if time.time() < steps.schedule(pilot).cancel_at:
            refuse_unsettled(pilot, steps.client)

    def _pilot_task_state(self, pilot: ShardFolder, context: Context) -> str | None:
        """State of the task that should send the pilot, None before it is scheduled. Fails this one if that failed."""
        plan = read_plan(pilot.run)
        assert plan is not None and plan.pilot is not None, "a pilot is one of a plan"  # noqa: PT018
        number = [shard.shard_id for shard in plan.shards].index(plan.pilot)
        index = number // shards_per_instance(len(plan.shards))
        run = context["dag_run"]
        states = context["ti"].get_task_states(
            dag_id=run.dag_id, task_ids=[self.task_id], run_ids=[run.run_id], map_index=index
        )
        state: str | None = next(iter(states.get(run.run_id, {}).values()), None)
        if state in _OVER:
            raise AirflowFailException(
                f"{self.task_id} of map index {index} is {state}, which sends the pilot of this run, shard "
                f"{pilot.shard_id}. Nothing else is sent before results of it were read: see its log, then clear it "
                "and this task"
            )
        return state

    def _defer_for(self, seconds: float) -> NoReturn:
        self.defer(trigger=GreenNodePauseTrigger(time.time() + seconds), method_name="resume")


class GreenNodeCollectResultsOperator(_ShardOperator):
    """Fetches a finished batch's files into staging and settles every request. Returns counts by status.

    shard: the folder that was submitted (templated), or a list of such, whose counts are added up; where some cannot be
    collected, the task fails once all others are. answer: a Pydantic model that each answer must match.
    min_read_ratio: where lines settle a smaller share of a completed batch, the task fails and the files stay; clear it
    once the connection's profile reads them. systematic_failure_ratio, explains_errors: where so many of a model's
    requests ended for one reason, the task fails with its results in staging, and nothing more is sent for the model in
    the run; answers that do not fit are no such reason where the next attempt explains errors. wait_task_id: the sensor
    before, where this runs even if that has failed; then it collects only if the wait came to its end. on_kill: whether
    a batch that still runs is cancelled (`cancel`) where a person has marked the sensor as success, or left (`leave`).
    """

    def __init__(
        self,
        *,
        answer: type[BaseModel] | None = None,
        min_read_ratio: float = 0.05,
        systematic_failure_ratio: float | None = None,
        explains_errors: bool = False,
        wait_task_id: str | None = None,
        on_kill: Literal["cancel", "leave"] = "cancel",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.answer = answer
        self.min_read_ratio = min_read_ratio
        self.systematic_failure_ratio = systematic_failure_ratio
        self.explains_errors = explains_errors
        self.wait_task_id = wait_task_id
        self.when_killed = on_kill

    @fail_without_retry
    def execute(self, context: Context) -> dict[str, int]:
        """Collect, or read what was collected before."""
        shards = shards_to_send(self.shard)
        failures = ShardFailures(len(shards))
        is_waited = self._check_waited(context)
        note_shards(context, shards)
        total: Counter[str] = Counter()
        with GreenNodeHook(self.greennode_conn_id).get_conn() as client:
            for shard in shards:
                with failures.held(shard):
                    before = read_receipt(shard)
                    try:
                        counts = self._collect(shard, client)
                    except UnfinishedError as error:
                        if not is_waited or self.when_killed == "leave" or before is None or before.batch_id is None:
                            raise
                        # A wait does not succeed by itself before its batch has ended.
                        self.log.warning("%s. %s was marked by hand, so it is cancelled", error, self.wait_task_id)
                        client.cancel_batch(before.batch_id)
                        counts = self._collect(shard, client)
                    count_requests(before, counts, dag_id=self.dag_id, conn_id=self.greennode_conn_id)
                    total += counts
        failures.raise_all()
        return dict(total)

    def _collect(self, shard: ShardFolder, client: GreenNodeClient) -> Counter[str]:
        from greennode_batch.collect.collect import collect_shard

        return collect_shard(
            shard,
            client,
            self.answer,
            min_read_ratio=self.min_read_ratio,
            systematic_failure_ratio=self.systematic_failure_ratio,
            explains_errors=self.explains_errors,
        )

    def _check_waited(self, context: Context) -> bool:
        """Whether there is a wait that was a success.

        Fails the task if a person, or an outage, has ended the wait: what is collected then would be asked again.
        """
        if self.wait_task_id is None:
            return False
        task, run = context["ti"], context["dag_run"]
        states = task.get_task_states(
            dag_id=run.dag_id, task_ids=[self.wait_task_id], run_ids=[run.run_id], map_index=task.map_index
        )
        state = next(iter(states.get(run.run_id, {}).values()), None)
        if state == "success":
            return True
        if task.xcom_pull(task_ids=self.wait_task_id, map_indexes=task.map_index) is None:
            raise AirflowFailException(
                f"{self.wait_task_id} is {state}, so nothing is collected. Nothing is lost: clear it with all that is "
                "downstream, and what is finished is collected"
            )
        return False


class _BatchByIdOperator(BaseOperator):
    """What acts on a batch by its id (templated)."""

    template_fields: Sequence[str] = ("batch_id", "greennode_conn_id")
    ui_color = "#fbe9e7"

    def __init__(
        self, *, batch_id: str, greennode_conn_id: str = GreenNodeHook.default_conn_name, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.greennode_conn_id = greennode_conn_id


class GreenNodeCancelBatchOperator(_BatchByIdOperator):
    """Asks GreenNode to cancel a batch. One that has ended already is left as it is."""

    @fail_without_retry
    def execute(self, context: Context) -> None:
        """Cancel."""
        with GreenNodeHook(self.greennode_conn_id).get_conn() as client:
            client.cancel_batch(self.batch_id)
        self.log.info("Batch %s: cancellation asked for", self.batch_id)


class GreenNodeDeleteBatchOperator(_BatchByIdOperator):
    """Removes an ended batch and its metadata at GreenNode for good. One that still runs is refused.

    Collect its results before: what is deleted there cannot be fetched again.
    """

    @fail_without_retry
    def execute(self, context: Context) -> None:
        """Delete, if it has ended."""
        with GreenNodeHook(self.greennode_conn_id).get_conn() as client:
            try:
                batch = client.get_batch(self.batch_id)
            except NotFoundError:
                self.log.info("Batch %s is not there (any more)", self.batch_id)
                return
            if not batch.status.is_terminal:
                raise ConfigError(f"batch {batch.id} is {batch.raw_status}; cancel it or wait, then delete it")
            client.delete_batch(self.batch_id)
        self.log.info("Batch %s deleted", self.batch_id)
