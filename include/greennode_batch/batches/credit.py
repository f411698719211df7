"""Credit: once it has run out, no other shard of a run is tried until a person continues it."""

from __future__ import annotations

from typing import Literal

from upath import UPath

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.batches.submit import Admit, submit
from greennode_batch.errors import CreditError
from greennode_batch.staging.folders import ShardFolder, read_json, write_json
from greennode_batch.state.enqueued_limit import EnqueuedLimits
from greennode_batch.state.no_credit import NoCredit
from greennode_batch.state.receipts import Receipt, is_sent

_WAY_OUT = (
    "Top up the account, then clear the failed tasks submit_batch of this run. Nothing that was sent is lost, and "
    "nothing is paid for again"
)


def submit_on_credit(
    shard: ShardFolder,
    client: GreenNodeClient,
    *,
    is_cleared: bool = False,
    on_ambiguous: Literal["fail", "resubmit"] = "fail",
    admit: Admit | None = None,
    limits: EnqueuedLimits | None = None,
) -> Receipt:
    """As `submit`, but without a call if another shard of the run was refused for lack of credit. Raises CreditError.

    is_cleared: whether a person, or a retry, tries this shard again: it is then sent anyway, and if the server accepts
    it, so are the others.
    """
    note = _note_of(shard)
    refused = read_json(note, NoCredit) if note is not None else None
    was_sent = refused is not None and is_sent(shard)
    if refused is not None and not is_cleared and not was_sent:
        raise CreditError(
            f"shard {shard.shard_id} was not tried, because shard {refused.shard_id} of the same run was refused: "
            f"{refused.words}. {_WAY_OUT}"
        )
    try:
        receipt = submit(shard, client, on_ambiguous=on_ambiguous, admit=admit, limits=limits)
    except CreditError as error:
        if note is not None:
            write_json(note, NoCredit(shard.shard_id, str(error)))
        raise CreditError(f"{error}. {_WAY_OUT}", status=error.status, code=error.code) from error
    if note is not None and refused is not None and not was_sent:
        note.unlink(missing_ok=True)
    return receipt


def _note_of(shard: ShardFolder) -> UPath | None:
    """The path of the note, for a shard of any attempt of a run; None for a shard that belongs to no run."""
    folder = shard.path.parent
    if folder.name != "shards":
        return None
    run = folder.parent
    return (run.parent if run.name.startswith("attempt_") else run) / "no_credit.json"
