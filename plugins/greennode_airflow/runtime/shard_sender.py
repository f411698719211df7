"""ShardSender: sends a shard of a job as a batch, or has it answered live, as the job says."""

from __future__ import annotations

import threading
from typing import Literal

from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.observability.metric_events import submit_counted
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.batches.credit import submit_on_credit
from greennode_batch.batches.live_choice import goes_live, schedule_of
from greennode_batch.batches.live_shard import answer_live
from greennode_batch.batches.wait import NO_SCHEDULE, Schedule
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import Receipt, is_live


class ShardSender:
    """Sends the shards of one task. job: None for shards of no job, which go into batches."""

    def __init__(self, hook: GreenNodeHook, client: GreenNodeClient, job: BatchJob | None, *, dag_id: str) -> None:
        self._hook = hook
        self._client = client
        self._job = job
        self._dag_id = dag_id

    def schedule(self, shard: ShardFolder) -> Schedule:
        """When batches of the shard's run are cancelled, if the run has to finish by a time."""
        if self._job is None or self._job.live is None:
            return NO_SCHEDULE
        return schedule_of(self._job.live, shard.run, self._hook.live_limits())

    def send(
        self,
        shard: ShardFolder,
        *,
        on_ambiguous: Literal["fail", "resubmit"],
        is_cleared: bool,
        stop: threading.Event | None = None,
    ) -> Receipt:
        """Send the shard, or find what was sent before. stop: ends live answering within a second.

        Raises BusyError while the server has no capacity, and RetryableError if live answering was stopped.
        """
        limits = self._hook.live_limits()
        with submit_counted(shard, dag_id=self._dag_id, conn_id=self._hook.greennode_conn_id):
            # A shard whose answering was begun goes on so, whatever the job says now.
            if is_live(shard) or (self._job is not None and goes_live(self._job, shard, limits=limits)):
                return answer_live(
                    shard,
                    self._client,
                    limits=limits,
                    not_after=self.schedule(shard).finish_by,
                    share=self._hook.live_share() if limits.are_shared else None,
                    stop=stop,
                )
            return submit_on_credit(
                shard,
                self._client,
                is_cleared=is_cleared,
                on_ambiguous=on_ambiguous,
                admit=self._hook.admit(self._client),
            )
