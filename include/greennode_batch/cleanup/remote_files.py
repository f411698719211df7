"""Clean up: after a run, its files at GreenNode are deleted; their content is safe in staging and in the target.

A file is deleted only if this is certain. A file that cannot be deleted stays, with a line in the log; the run is good
all the same. Batches stay as well: they hold no rows.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeGuard, TypeVar

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.wire import Batch, RemoteFile
from greennode_batch.batches.upload import remote_name
from greennode_batch.errors import ApiError, NotFoundError, RejectedError
from greennode_batch.staging.folders import (
    RunFolder,
    ShardFolder,
    fresh_names,
    read_json,
    remove_tree,
    remove_work_folders,
    write_json,
)
from greennode_batch.state.attempts import FIRST_ATTEMPT, SentShard, all_sent, retries
from greennode_batch.state.cleaned import Cleaned
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import Receipt, is_sent, read_receipt
from greennode_batch.state.run_report import RunReport
from greennode_batch.state.split import read_split

log = logging.getLogger(__name__)

T = TypeVar("T")

# After this many failures in a row, a server that is down or forbids deletes is not called for every file of a run.
_FAILURES_IN_A_ROW = 5
_UPLOAD_NAME = re.compile(r"([0-9a-f]+)\.[0-9a-f]+\.jsonl")


class RemovedFiles(NamedTuple):
    """How many files were deleted, how many calls failed, how many shards keep their files; or why all were kept."""

    deleted: int = 0
    failed: int = 0
    shards_kept: int = 0
    why_kept: str = ""

    def __str__(self) -> str:
        if self.why_kept:
            return f"The run's files stay at GreenNode: {self.why_kept}"
        failed = f"; calls that failed: {self.failed:,}" if self.failed else ""
        kept = f"; shards that keep theirs: {self.shards_kept:,}" if self.shards_kept else ""
        return f"Files of the run deleted at GreenNode: {self.deleted:,}{failed}{kept}"


def remove_remote_files(
    run: RunFolder, client: GreenNodeClient, *, keep: bool = False, clock: Callable[[], float] = time.time
) -> RemovedFiles:
    """Delete the files of a finished run: input, output and errors, and spare copies of uploads.

    keep: delete none of them. Safe to call again: a deleted file is not deleted twice. Call it when nothing works on
    the run any longer, because it also removes folders in staging that killed workers left, and the parts in which the
    source was read.
    """
    plan = read_plan(run)
    sent = list(all_sent(run, plan)) if plan is not None else []
    parts = [run.parts / name for name in fresh_names(run.parts)]
    for folder in (run.path, *parts, *(one.folder(run).path for one in sent)):
        remove_work_folders(folder)
    is_over = _balances(run)
    if is_over:
        # Only a build uses this file, and it is as large as all requests.
        remove_tree(run.parts)
    if keep:
        return RemovedFiles(why_kept="keep_remote_files is set")
    if not is_over:
        return RemovedFiles(why_kept="no report says that all of its rows are in the target")
    return _Sweep(run, sent, client).over(clock)


def _balances(run: RunFolder) -> bool:
    made = read_json(run.report, RunReport)
    return made is not None and made.balanced


def _is_cleaned(shard: ShardFolder, receipt: Receipt | None) -> bool:
    """Whether the files of the receipt's batch are deleted; a later batch has new files."""
    note = read_json(shard.cleaned, Cleaned)
    return note is not None and receipt is not None and receipt.file_id in note.files


def _has_no_file(shard: ShardFolder, receipt: Receipt | None) -> bool:
    """Whether the shard was answered live and never uploaded: the server may have no files at all."""
    return receipt is not None and receipt.live is not None and not receipt.file_id and not shard.uploading.exists()


def _is_file(file_id: str | None) -> TypeGuard[str]:
    """Whether it names a file. Some APIs name a URL instead, by which nothing can be deleted."""
    return file_id is not None and not file_id.startswith(("https://", "http://"))


class _KeptError(Exception):
    """The files of a shard stay; the message says why."""


class _Sweep:
    """One clean-up: decides which files may go, then deletes them. Holds the ids of the run's files.

    Shards are identified by the name of their uploads in the API's store.
    """

    def __init__(self, run: RunFolder, sent: list[SentShard], client: GreenNodeClient) -> None:
        self._run = run
        self._sent = {remote_name(one.folder(run)): one for one in sent}
        self._client = client
        self._attempts = range(FIRST_ATTEMPT, FIRST_ATTEMPT + 1 + sum(1 for _ in retries(run)))
        self._going: dict[str, tuple[ShardFolder, dict[str, None]]] = {}
        self._kept: set[str] = set()
        # Something could not be checked: the next clean-up tries again.
        self._unclear: set[str] = set()
        self._failed = self._failed_in_a_row = 0

    def over(self, clock: Callable[[], float]) -> RemovedFiles:
        """Decide, delete, and record what is done."""
        left = {
            name: one
            for name, one in self._sent.items()
            if not _is_cleaned(shard := one.folder(self._run), receipt := read_receipt(shard))
            and not _has_no_file(shard, receipt)
        }
        if not left:
            return RemovedFiles()
        for name, one in left.items():
            try:
                self._settle(name, one)
            except _KeptError as why:
                log.warning("Shard %s keeps its files at GreenNode: %s", one.shard_id, why)
                self._kept.add(name)
        self._settle_withdrawn()
        self._settle_copies()
        deleted = 0
        for name, (shard, files) in self._going.items():
            gone = [file_id for file_id in files if self._delete(file_id)]
            deleted += len(gone)
            if len(gone) == len(files) and name not in self._unclear:
                write_json(shard.cleaned, Cleaned(tuple(gone), clock()))
        return RemovedFiles(deleted=deleted, failed=self._failed, shards_kept=len(self._kept))

    def _settle(self, name: str, one: SentShard) -> None:
        """Mark the files of a shard's batch that are safe to delete. Raises _KeptError if that is uncertain."""
        receipt = read_receipt(shard := one.folder(self._run))
        if receipt is None or not receipt.is_through or receipt.state != "collected" or not shard.results.exists():
            raise _KeptError("its results are not in staging")
        if receipt.live is not None and not receipt.file_id:
            return  # answered live, and never uploaded
        if receipt.lost == "overdue":
            raise _KeptError(f"batch {receipt.batch_id} has not ended")
        if receipt.server not in {"", self._client.host}:
            raise _KeptError(f"they are at {receipt.server}, and the connection now points to {self._client.host}")
        if not all(self._run.shard(origin).joined.exists() for origin in one.origins):
            raise _KeptError("not all rows of this batch are in the target")
        for file_id in (receipt.file_id, *self._result_files(name, shard, receipt), *self._repeated(name, receipt)):
            self._mark(name, shard, file_id)

    def _result_files(self, name: str, shard: ShardFolder, receipt: Receipt) -> Iterator[str]:
        if receipt.batch_id is None:
            return  # answered live, after an upload whose batch the server had no capacity for
        batch = self._batch(receipt.batch_id)
        if batch is None:
            if receipt.lost is None:
                self._unclear.add(name)
            return
        if not batch.status.is_terminal:
            raise _KeptError(f"batch {batch.id} is {batch.raw_status}")
        # A gateway may have made the batch from a copy of the file, which holds all prompts as well.
        if _is_file(batch.input_file_id):
            yield batch.input_file_id
        for file_id, fetched in ((batch.output_file_id, shard.output), (batch.error_file_id, shard.errors)):
            if not _is_file(file_id):
                continue
            if fetched.exists():
                yield file_id
            else:
                log.warning("File %s of batch %s was never downloaded: it stays at GreenNode", file_id, batch.id)

    def _repeated(self, name: str, receipt: Receipt) -> Iterator[str]:
        """The files of further batches that were created from the shard: its results are in staging."""
        for batch_id in receipt.repeated:
            batch = self._batch(batch_id)
            if batch is not None and not batch.status.is_terminal:
                self._unclear.add(name)
            elif batch is not None:
                yield from filter(_is_file, (batch.input_file_id, batch.output_file_id, batch.error_file_id))

    def _batch(self, batch_id: str) -> Batch | None:
        try:
            return self._ask(self._client.get_batch, batch_id)
        except NotFoundError:
            return None
        except ApiError as error:
            raise _KeptError(str(error)) from error

    def _settle_withdrawn(self) -> None:
        """Mark uploads of shards that were built, withdrawn and never sent."""
        for attempt in self._attempts:
            folder = self._run.shard("any", attempt=attempt).path.parent
            for shard_id in fresh_names(folder):
                shard = self._run.shard(shard_id, attempt=attempt)
                receipt = read_receipt(shard)
                if (
                    receipt is not None
                    and receipt.server in {"", self._client.host}
                    and self._is_never_sent(shard)
                    and not _is_cleaned(shard, receipt)
                ):
                    self._mark(remote_name(shard), shard, receipt.file_id)

    def _settle_copies(self) -> None:
        """Mark files in the store that have the name of an upload of this run, whatever their id.

        An upload whose reply was lost leaves such a copy, and its id is unknown.
        """
        for file in self._listed():
            shard = self._shard_named(file.filename or "")
            if shard is None or not file.id:
                continue
            name = remote_name(shard)
            if name not in self._kept and (name in self._sent or self._is_never_sent(shard)):
                self._mark(name, shard, file.id)

    def _listed(self) -> Iterator[RemoteFile]:
        try:
            yield from self._client.list_files()
        except (NotFoundError, RejectedError) as error:
            log.info("Spare copies of uploads cannot be found, because the server does not list its files: %s", error)
        except ApiError as error:
            log.warning("Spare copies of uploads cannot be found: %s", error)
            self._unclear.update(self._sent)

    def _shard_named(self, filename: str) -> ShardFolder | None:
        """The shard of this run whose uploads have this name; its folder may no longer exist."""
        match = _UPLOAD_NAME.fullmatch(filename)
        shards = (self._run.shard(match[1], attempt=attempt) for attempt in self._attempts) if match else ()
        return next((shard for shard in shards if remote_name(shard) == filename), None)

    def _is_never_sent(self, shard: ShardFolder) -> bool:
        """Whether a build dropped the shard before it had a batch, or it was split: then no batch needs its file."""
        if remote_name(shard) in self._sent:
            return False
        return read_split(shard) is not None or not (shard.path.exists() and is_sent(shard))

    def _mark(self, name: str, shard: ShardFolder, file_id: str) -> None:
        self._going.setdefault(name, (shard, {}))[1][file_id] = None

    def _delete(self, file_id: str) -> bool:
        try:
            self._ask(self._client.delete_file, file_id)
        except ApiError:
            return False
        return True

    def _ask(self, call: Callable[[str], T], remote_id: str) -> T:
        """Make a call, unless too many have failed. Counts and logs failures, except a NotFoundError."""
        if self._failed_in_a_row >= _FAILURES_IN_A_ROW:
            raise ApiError("too many calls have failed")
        try:
            made = call(remote_id)
        except NotFoundError:
            raise
        except ApiError as error:
            self._failed += 1
            self._failed_in_a_row += 1
            log.warning("%s. The run is good all the same", error)
            if self._failed_in_a_row == _FAILURES_IN_A_ROW:
                log.warning("The remaining files stay at GreenNode: %d calls failed in a row", _FAILURES_IN_A_ROW)
            raise
        self._failed_in_a_row = 0
        return made
