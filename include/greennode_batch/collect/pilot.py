"""Pilot: the first, small shard of a run if no results of its server were read before; the others are sent after it."""

from __future__ import annotations

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.errors import UnreadResultsError
from greennode_batch.staging.folders import RunFolder, ShardFolder
from greennode_batch.state.confirmed_profile import is_confirmed
from greennode_batch.state.plan import Plan
from greennode_batch.state.receipts import is_live, read_receipt
from greennode_batch.state.split import parts_of


def open_pilot(run: RunFolder, plan: Plan | None, client: GreenNodeClient) -> ShardFolder | None:
    """The run's pilot, while no results were read with this host and profile; None if there is nothing to wait for."""
    if plan is None or plan.pilot is None:
        return None
    root = run.path.parent.parent
    # Of a pilot that was split, the first part.
    pilot = parts_of(run.shard(plan.pilot))[0]
    return None if is_confirmed(root, client.host, client.profile) or is_live(pilot) else pilot


def refuse_unsettled(pilot: ShardFolder, client: GreenNodeClient) -> None:
    """Raise UnreadResultsError if a pilot that is collected has settled none of its requests."""
    root = pilot.run.path.parent.parent
    if is_confirmed(root, client.host, client.profile) or is_live(pilot):
        return
    receipt = read_receipt(pilot)
    how = receipt.ended.raw_status if receipt is not None and receipt.ended is not None else "an end without results"
    raise UnreadResultsError(
        f"the pilot of this run, shard {pilot.shard_id}, came to {how}, and no line of results settles any of its "
        "requests. So it is unknown whether results of this server can be read with the connection's profile, and no "
        "other shard was sent. See the batch at GreenNode. To send another pilot, start another run, or clear "
        "build_requests with all that is downstream"
    )
