"""Cancel: cancels batches at the server when a person asks for it. Their finished answers are kept and collected."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.errors import GreenNodeError
from greennode_batch.monitor.staged_run import StagedShard

log = logging.getLogger(__name__)

_AT_ONCE = 8


class Cancelled(msgspec.Struct, frozen=True):
    """The outcome. requested: batches that the server was asked to cancel; failed: why it could not, by id."""

    requested: int
    failed: dict[str, str]


def cancel_batches(shards: Sequence[StagedShard], client: GreenNodeClient) -> Cancelled:
    """Ask the server to cancel the batches of these shards, eight at a time.

    The tasks that wait for them notice the end and collect the finished answers. An ended batch stays as it is.
    """

    def cancel(batch_id: str) -> str | None:
        try:
            client.cancel_batch(batch_id)
        except GreenNodeError as error:
            log.warning("Batch %s could not be cancelled: %s", batch_id, error)
            return str(error)
        return None

    batch_ids = [shard.batch_id for shard in shards if shard.is_open and shard.batch_id]
    with ThreadPoolExecutor(_AT_ONCE) as callers:
        outcomes = dict(zip(batch_ids, callers.map(cancel, batch_ids), strict=True))
    failed = {batch_id: why for batch_id, why in outcomes.items() if why is not None}
    return Cancelled(requested=len(batch_ids) - len(failed), failed=failed)
