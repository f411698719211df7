"""Shard -> batch -> results; and cancel and delete for a batch by its id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException
from pydantic import BaseModel

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.observability.links import SHARD_LINKS
from greennode_airflow.observability.metric_events import count_requests, submit_counted
from greennode_airflow.observability.shard_state import note_shard
from greennode_airflow.runtime.runs import shard_at
from greennode_batch.batches.credit import submit_on_credit
from greennode_batch.errors import BusyError, ConfigError, NotFoundError
from greennode_batch.state.receipts import read_receipt


class _ShardOperator(BaseOperator):
    """What acts on a shard by its folder (templated)."""

    template_fields: Sequence[str] = ("shard", "greennode_conn_id")
    operator_extra_links = SHARD_LINKS
    ui_color = "#e3f4ea"

    def __init__(self, *, shard: str, greennode_conn_id: str = GreenNodeHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard = shard
        self.greennode_conn_id = greennode_conn_id


class GreenNodeSubmitBatchOperator(_ShardOperator):
    """Makes one batch of one shard, exactly once however often it runs. Returns the batch's id.

    While the server has no room for it, or others are before it in the line of a connection that has limits, the task
    waits in the triggerer and tries again. Where the credit has run out
    it fails for good, and so do the run's shards that were not tried yet; cleared, they are sent.

    shard: the folder that holds `requests.jsonl` (templated); its receipt is kept beside it, so a folder is for
    one batch. on_ambiguous: what to do when a create may have been accepted and the server cannot tell.
    """

    def __init__(self, *, on_ambiguous: Literal["fail", "resubmit"] = "fail", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.on_ambiguous = on_ambiguous

    @fail_without_retry
    def execute(self, context: Context) -> str:
        """Submit, or find what was submitted before."""
        shard = shard_at(self.shard)
        if shard.requests.exists() and shard.requests.stat().st_size == 0:
            raise AirflowSkipException("no row of this shard can be sent; they go to the target as unsent")
        note_shard(context, shard)
        hook = GreenNodeHook(self.greennode_conn_id)
        with hook.get_conn() as client:
            try:
                again = context["ti"].try_number > 1
                with submit_counted(shard, dag_id=self.dag_id, conn_id=self.greennode_conn_id):
                    receipt = submit_on_credit(
                        shard, client, is_cleared=again, on_ambiguous=self.on_ambiguous, admit=hook.admit(client)
                    )
            except BusyError as error:
                self.log.warning("%s. Waiting without a worker, then trying again", error)
                moment = datetime.now(UTC) + timedelta(seconds=error.retry_after or 0.0)
                self.defer(trigger=DateTimeTrigger(moment=moment), method_name="resume")
        assert receipt.batch_id is not None
        note_shard(context, shard)
        return receipt.batch_id

    def resume(self, context: Context, event: Any = None) -> str:
        """Try again after the server had no room, or others were before."""
        return self.execute(context)


class GreenNodeCollectResultsOperator(_ShardOperator):
    """Fetches a finished batch's files into staging and settles every request. Returns counts by status.

    shard: the folder that was submitted (templated). answer: a Pydantic model that each answer must match.
    """

    def __init__(self, *, answer: type[BaseModel] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.answer = answer

    @fail_without_retry
    def execute(self, context: Context) -> dict[str, int]:
        """Collect, or read what was collected before."""
        from greennode_batch.collect.collect import collect_shard

        shard = shard_at(self.shard)
        note_shard(context, shard)
        before = read_receipt(shard)
        with GreenNodeHook(self.greennode_conn_id).get_conn() as client:
            counts = dict(collect_shard(shard, client, self.answer))
        count_requests(before, counts, dag_id=self.dag_id, conn_id=self.greennode_conn_id)
        return counts


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
