"""Submit: one shard becomes one batch, exactly once.

    upload -> receipt uploaded(file_id) -> claim -> POST /batches -> receipt created(batch_id)

A create is never repeated blindly. After any end that leaves it open whether the create was carried out (a
timeout, a reset, a 5xx, a kill) the server's batches are listed and matched by `input_file_id`, again and again
until the settle time has passed; only then is it sent again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.wire import Batch
from greennode_batch.errors import AmbiguousError, ApiError, ConfigError, NotFoundError
from greennode_batch.receipts import (
    Receipt,
    claim_create,
    read_claim,
    read_receipt,
    release_claim,
    write_receipt,
)
from greennode_batch.staging import ShardFolder, local_copy

log = logging.getLogger(__name__)

SETTLE_SECONDS = 90.0
"""How long a batch may take to show in the server's list. Longer than a create may be under way."""
_LOOK_SECONDS = 3.0
_CREATES = 3
_SEARCHED_BATCHES = 1_000


def submit(
    shard: ShardFolder,
    client: GreenNodeClient,
    *,
    on_ambiguous: Literal["fail", "resubmit"] = "fail",
    settle_seconds: float = SETTLE_SECONDS,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Receipt:
    """The receipt of the shard's batch, which is created if it is not there yet.

    Safe to call again after any end, by this worker or another. Raises AmbiguousError where the server cannot
    say whether a create was accepted and the job did not choose `on_ambiguous="resubmit"`.
    """
    receipt = read_receipt(shard)
    if receipt is not None and receipt.batch_id is not None:
        log.info("Shard %s is batch %s already; nothing is sent", shard.shard_id, receipt.batch_id)
        return receipt
    if receipt is None:
        receipt = _upload(shard, client)
    return _Submission(
        shard=shard,
        client=client,
        receipt=receipt,
        on_ambiguous=on_ambiguous,
        settle_seconds=settle_seconds,
        clock=clock,
        sleep=sleep,
    ).run()


def _upload(shard: ShardFolder, client: GreenNodeClient) -> Receipt:
    if not shard.requests.exists():
        raise ConfigError(f"{shard.requests}: no such file; a shard is a folder that holds requests.jsonl")
    with local_copy(shard.requests) as path:
        log.info("Uploading shard %s (%.1f MB)", shard.shard_id, path.stat().st_size / 1e6)
        # The shard's name lets a person at GreenNode's console tell which file is which.
        remote = client.upload_file(path, filename=f"{shard.shard_id}.jsonl")
    return write_receipt(
        shard,
        Receipt(shard_id=shard.shard_id, state="uploaded", file_id=remote.id, uploaded_at=time.time()),
    )


@dataclass(frozen=True, kw_only=True)
class _Submission:
    shard: ShardFolder
    client: GreenNodeClient
    receipt: Receipt
    on_ambiguous: Literal["fail", "resubmit"]
    settle_seconds: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def run(self) -> Receipt:
        unknown: AmbiguousError | None = None
        for _ in range(_CREATES):
            while not claim_create(self.shard, self.receipt.file_id):
                found = self._look_until_settled()
                if found is not None:
                    return found
                self._may_send_again()
                release_claim(self.shard)
            try:
                return self._create()
            except AmbiguousError as error:
                log.warning("%s Looking for the batch before anything is sent again.", error)
                unknown = error
        assert unknown is not None
        raise unknown

    def _create(self) -> Receipt:
        metadata = {"greennode_airflow_shard": self.shard.shard_id}
        try:
            batch = self.client.create_batch(self.receipt.file_id, metadata=metadata)
        except AmbiguousError:
            raise
        except ApiError:
            # A definite no: nothing runs, nothing is paid, and the next try may claim at once.
            release_claim(self.shard)
            raise
        return self._created(batch)

    def _created(self, batch: Batch) -> Receipt:
        log.info("Shard %s is batch %s (%s)", self.shard.shard_id, batch.id, batch.raw_status)
        return write_receipt(
            self.shard,
            Receipt(
                shard_id=self.shard.shard_id,
                state="created",
                file_id=self.receipt.file_id,
                batch_id=batch.id,
                uploaded_at=self.receipt.uploaded_at,
                created_at=batch.created_at or self.clock(),
            ),
        )

    def _look_until_settled(self) -> Receipt | None:
        """The batch of the claim that stands: by another worker's receipt, or in the list. None if there is none.

        Whoever claimed is creating it right now, or was stopped while they did.
        """
        while True:
            receipt = read_receipt(self.shard)
            if receipt is not None and receipt.batch_id is not None:
                return receipt
            claim = read_claim(self.shard)
            if claim is None or not self.client.profile.can_list_batches:
                return None
            batch = self._find_batch()
            if batch is not None:
                log.info("Found batch %s, which was created though no reply came", batch.id)
                return self._created(batch)
            left = claim.claimed_at + self.settle_seconds - self.clock()
            if left <= 0:
                return None
            self.sleep(min(_LOOK_SECONDS, left))

    def _find_batch(self) -> Batch | None:
        try:
            for place, batch in enumerate(self.client.list_batches()):
                if batch.input_file_id == self.receipt.file_id:
                    return batch
                if place >= _SEARCHED_BATCHES:
                    break
        except NotFoundError as error:
            raise AmbiguousError(
                f"shard {self.shard.shard_id}: it is not known whether its batch was created, and this server "
                f"does not list batches ({error}). Look at GreenNode's console for a batch of file "
                f"{self.receipt.file_id}; then either set on_ambiguous='resubmit' (risks paying twice) or "
                "write its id into the receipt"
            ) from error
        return None

    def _may_send_again(self) -> None:
        if self.client.profile.can_list_batches or self.on_ambiguous == "resubmit":
            log.warning("Shard %s: no batch was created; sending it again", self.shard.shard_id)
            return
        raise AmbiguousError(
            f"shard {self.shard.shard_id}: it is not known whether its batch was created, and this server cannot "
            f"list batches. Look at GreenNode's console for a batch of file {self.receipt.file_id}; if there is "
            "none, run again with on_ambiguous='resubmit' (which risks paying this shard twice)"
        )
