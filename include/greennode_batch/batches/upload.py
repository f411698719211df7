"""Upload: stores a shard's file at the API, and finds it there again if the reply was lost.

Every file has a unique name, made from the shard's bytes, the staging area and the shard's place in it. So a copy
whose id is unknown is found among all other files: it is used, or deleted when the run is over. An upload costs
nothing.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.protocol import AWAITS_UPLOAD
from greennode_batch.api.wire import RemoteFile
from greennode_batch.errors import ApiError, ConfigError, NotFoundError
from greennode_batch.spans import UPLOAD
from greennode_batch.staging.folders import ShardFolder, fresh_names, local_copy, read_json, write_json
from greennode_batch.state.receipts import (
    Receipt,
    UploadBegun,
    first_receipt,
    latest_claim,
    read_receipt,
)
from greennode_batch.state.staging_identity import staging_token
from greennode_batch.wording import given_by

log = logging.getLogger(__name__)

# The server may have removed a file that was stored so long ago.
_FRESH_SECONDS = 3600.0
_UNREADY_STATES = re.compile(r"process|pending|queue|upload|validat|scan|prepar|creat", re.IGNORECASE)
_UNREADY_WORDS = re.compile(
    r"still (?:being )?process|not (?:yet )?ready|being (?:processed|uploaded)|not processed|pending", re.IGNORECASE
)
_UNREADY_CODES = frozenset({"processing", "file_processing", "not_ready", "file_not_ready", "pending"})
_READY_STATES = frozenset({"processed", "uploaded", "ready", "created", "completed", "success", "available", "active"})


def remote_name(shard: ShardFolder) -> str:
    """The name of the shard's file in the API's store; it stays the same once an upload has begun."""
    begun = read_json(shard.uploading, UploadBegun)
    if begun is not None:
        return begun.name
    # A shard that belongs to no run has only its folder as staging area.
    area = shard.run.path.parent.parent if shard.run.plan.exists() else shard.path
    index = hashlib.blake2b(f"{staging_token(area)}\n{shard.path}".encode(), digest_size=6).hexdigest()
    return f"{shard.shard_id}.{index}.jsonl"


def upload(shard: ShardFolder, client: GreenNodeClient, clock: Callable[[], float]) -> Receipt:
    """The shard's receipt, of an earlier upload or of one that is made now. Safe to call again after any end.

    Raises ConfigError if the shard was sent to another server than the client's.
    """
    before = fresh_names(shard.path)
    old = read_receipt(shard)
    if old is not None and _is_good(shard, old, client, clock()):
        return old
    if not shard.requests.exists():
        raise ConfigError(
            f"{shard.requests}: no such file, so nothing was sent; a shard is a folder with a requests.jsonl"
        )
    if old is None:
        _forget_results(shard, before)
    with UPLOAD.open() as span, local_copy(shard.requests) as path, _told_of_live():
        span.note(shard_id=shard.shard_id, attempt=shard.attempt, server=client.host)
        remote = _find_or_store(shard, client, path, clock)
        span.note(file_id=remote.id)
    mine = Receipt(
        shard_id=shard.shard_id, state="uploaded", file_id=remote.id, server=client.host, uploaded_at=clock()
    )
    if old is not None:
        mine = msgspec.structs.replace(
            mine, over_capacity=old.over_capacity, refused=old.refused, number=old.number, by_hand=old.by_hand
        )
    # All workers on a shard use one file: the list of batches is searched by its id.
    written = first_receipt(shard, mine)
    if written.file_id != mine.file_id:
        log.info("Another worker uploaded shard %s first; file %s is spare and costs nothing", shard, mine.file_id)
    return written


def _forget_results(shard: ShardFolder, names: Collection[str]) -> None:
    """Remove the results of a batch whose receipts a person has removed to send the shard again.

    names: the contents of the shard's folder before it was found to have no receipt. Later files are another worker's.
    """
    for path in (shard.output, shard.errors, shard.results, shard.anomalies, shard.cleaned):
        if path.name in names:
            path.unlink()


def is_unready(client: GreenNodeClient, receipt: Receipt, error: ApiError) -> bool:
    """Whether a create was refused because the server is not done with the file yet, or does not show it yet."""
    if _UNREADY_WORDS.search(str(error)) or (error.code or "").lower() in _UNREADY_CODES:
        return True
    try:
        status = client.get_file(receipt.file_id).status
    except NotFoundError:
        return True
    except ApiError:
        return False
    # Where the server's own words name the file, one of its parts shows the file before another. A path that does not
    # exist may be called a file as well, but not by its id.
    _, _, said = str(error).partition("HTTP ")
    if isinstance(error, NotFoundError) and receipt.file_id in said and not error.names_model:
        return True
    if status is None or status.lower() in _READY_STATES or AWAITS_UPLOAD.search(status):
        return False
    return _UNREADY_STATES.search(status) is not None


def _is_good(shard: ShardFolder, receipt: Receipt, client: GreenNodeClient, now: float) -> bool:
    """Whether the receipt's file can be used, or was used: it is on the client's server and still exists."""
    if receipt.server not in {"", client.host}:
        if receipt.batch_id is None and latest_claim(shard) is None:
            return False
        raise ConfigError(
            f"shard {shard.shard_id} was sent to {receipt.server}, and the connection now points to {client.host}: "
            "point it back to let this run end. Sending it here as well would pay for it twice"
        )
    if receipt.batch_id is not None or now - (receipt.uploaded_at or now) < _FRESH_SECONDS:
        return True
    try:
        client.get_file(receipt.file_id)
    except NotFoundError:
        log.warning("The server has lost file %s of shard %s; uploading it again", receipt.file_id, shard.shard_id)
        return False
    except ApiError as error:
        log.warning("%s; going on as if the file were there", error)
    return True


def _find_or_store(shard: ShardFolder, client: GreenNodeClient, path: Path, clock: Callable[[], float]) -> RemoteFile:
    name, size = remote_name(shard), path.stat().st_size
    if read_json(shard.uploading, UploadBegun) is not None:
        found = _stored(client, name, size)
        if found is not None:
            log.info("Found file %s: shard %s was stored although no reply came", found.id, shard.shard_id)
            return found
    write_json(shard.uploading, UploadBegun(name=name, bytes=size, began_at=clock()))
    log.info("Uploading shard %s (%.1f MB)", shard.shard_id, size / 1e6)
    return client.upload_file(path, filename=name)


@contextmanager
def _told_of_live() -> Iterator[None]:
    """Add the way out to the error of a server that takes no files."""
    try:
        yield
    except NotFoundError as error:
        raise NotFoundError(
            f"{error}. If this server has no batches, {given_by('live', 'live=Live(only=True) of the job')} has every "
            "request answered live. Nothing was sent",
            status=error.status,
            code=error.code,
            request_id=error.request_id,
        ) from error


def _stored(client: GreenNodeClient, name: str, size: int) -> RemoteFile | None:
    """The file with this name and size in the store, if the server can list its files."""
    try:
        return next((file for file in client.list_files() if (file.filename, file.bytes) == (name, size)), None)
    except ApiError as error:
        log.warning("The server's files cannot be listed (%s); uploading again, at no cost", error)
        return None
