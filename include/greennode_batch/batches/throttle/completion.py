"""Completion: when a shard's admission ends, by its receipt or, if no receipt says so yet, by the server."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from greennode_batch.api.capacity import failed_over_capacity
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import BUSY_SECONDS, DEADLINE_SECONDS
from greennode_batch.errors import ApiError, ConfigError, NotFoundError
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import Receipt, latest_claim, read_receipt
from greennode_batch.state.submit_queue import Admission
from greennode_batch.state.withdrawn import is_withdrawn

log = logging.getLogger(__name__)

# How long an admission is good for a create; the upload of 100 MB over a slow line takes a part of it.
UNSENT_SECONDS = 3600.0
# Between the clocks of workers, and for a create that is under way.
_SLACK_SECONDS = 600.0


def good_until(admission: Admission, receipt: Receipt | None) -> float:
    """Until when a shard without a batch may be sent with its admission.

    A shard whose batch the server refused for lack of capacity keeps its admission while it is sent again: the server
    is fuller than the limits allow, and would refuse another shard as well.
    """
    if receipt is not None and receipt.over_capacity:
        return (receipt.uploaded_at or admission.admitted_at) + BUSY_SECONDS
    return admission.admitted_at + UNSENT_SECONDS


class Completions:
    """Which admissions are over. shard_at: opens a shard's folder, by its path as text."""

    def __init__(
        self, client: GreenNodeClient, shard_at: Callable[[str], ShardFolder], clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._shard_at = shard_at
        self._clock = clock

    def is_over(self, admission: Admission) -> bool:
        """Whether staging shows that it is over: collected, given up, withdrawn, split, never sent in time, or gone."""
        shard = self._shard_at(admission.folder)
        try:
            receipt = read_receipt(shard)
            if receipt is not None and (receipt.state == "collected" or receipt.lost or receipt.live):
                return True
            if receipt is not None and receipt.batch_id is not None:
                # A shard that was sent elsewhere takes no capacity here.
                return receipt.server not in {"", self._client.host}
            last = latest_claim(shard)
        except ConfigError as error:
            log.warning("%s. Its shard counts as under way", error)
            return False
        if last is not None and (last.claim.splits or is_withdrawn(shard, last.claim)):
            return True
        if last is not None and not last.claim.released:
            # It is unknown whether there is a batch. If there is one, it has ended by that time.
            return self._clock() > last.claim.claimed_at + DEADLINE_SECONDS
        return self._clock() > good_until(admission, receipt) + _SLACK_SECONDS

    def have_ended(self, admissions: list[Admission]) -> set[int]:
        """The numbers of those whose batches have ended at the server but are not collected yet."""
        ended = set()
        for admission in admissions:
            try:
                if self._has_ended(admission):
                    ended.add(admission.number)
            except ConfigError:
                continue  # logged by is_over
            except ApiError as error:
                log.warning("It is unknown which batches have ended: %s", error)
                break
        return ended

    def _has_ended(self, admission: Admission) -> bool:
        receipt = read_receipt(self._shard_at(admission.folder))
        if receipt is None or receipt.batch_id is None:
            return False
        is_late = self._clock() > (receipt.created_at or admission.admitted_at) + DEADLINE_SECONDS
        try:
            batch = self._client.get_batch(receipt.batch_id)
        except NotFoundError:
            # It may be missing for a while.
            return is_late
        # A shard that was refused for lack of capacity keeps its admission and is sent again, if any worker waits for
        # it.
        return batch.status.is_terminal and (is_late or not failed_over_capacity(batch))
