"""Download: the result files of an ended batch land in staging, complete, once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from upath import UPath

from greennode_batch.api.bounds import OVER_BOUND, max_file_bytes
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.paging import NOT_WHOLE
from greennode_batch.api.polling.polling import FORGOTTEN_SECONDS
from greennode_batch.api.results.result_lines import Anomaly, ends_with_newline, iter_lines, parse_line
from greennode_batch.api.wire import Batch
from greennode_batch.errors import ApiError, NotFoundError, RejectedError, RetryableError
from greennode_batch.staging.folders import ShardFolder, copy_file, land, local_copy
from greennode_batch.state.receipts import note_of_batch, read_receipt, receipt_path
from greennode_batch.wording import done_again

log = logging.getLogger(__name__)

READY_SECONDS = 120.0
"""How long a file that the batch names may take to become readable before the task should try again later."""
_PAUSE_SECONDS = 5.0
# Between the tries to download a file that ends in the middle of a line.
_CUT_OFF_PAUSES = (2.0, 10.0, 30.0, 60.0)
_Which = Literal["output", "error"]


class BatchFiles(NamedTuple):
    """The result files of a shard's batch, on their way to staging.

    work: a folder to make them in. requests: how many the shard has, which limits the size of the files.
    """

    shard: ShardFolder
    client: GreenNodeClient
    batch: Batch
    work: Path
    requests: int
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def download(self) -> None:
        """Download the files that staging does not have yet.

        Raises RetryableError while a file that the batch names cannot be read. A file that could not be read for half
        an hour, and of which the server has no metadata either, is lost, and its requests are missing. Raises
        RejectedError for a file that the server has but does not return, and for one over this client's size limits: a
        person decides.
        """
        for path, which in self._files:
            if path.exists():
                continue
            made = self.work / path.name
            try:
                found = self._download_when_ready(which, made)
            except RejectedError as error:
                raise RejectedError(
                    f"{error}. If the {which} file of batch {self.batch.id} is good, put it here by hand as {path} "
                    f"and {done_again('collect_results')}",
                    code=error.code,
                ) from error
            if found:
                size = made.stat().st_size
                land(made, path)
                log.info("Downloaded %s of batch %s (%.1f MB)", path.name, self.batch.id, size / 1e6)

    def download_again(self, *, replace: bool = False) -> bool:
        """Download both files once more, and keep each that is longer than in staging; returns whether one was.

        If a server does not give a file's length, a file cut at the end of a line seems complete. This check is worth
        the traffic before requests count as missing and are paid for again. replace: keep the new file whatever its
        length; the old one stays beside it, as `<name>.before`.
        """
        grew = False
        batch_id = self.batch.id
        for path, which in self._files:
            made = self.work / f"second-{path.name}"
            try:
                if self._download(which, made) is None:
                    continue
            except ApiError as error:
                log.warning("The %s file of batch %s could not be downloaded a second time: %s", which, batch_id, error)
                continue
            if replace:
                kept = path.parent / f"{path.name}.before"
                if path.exists() and not kept.exists():
                    copy_file(path, kept)
            else:
                if path.exists():
                    with local_copy(path) as before:
                        if before.stat().st_size >= made.stat().st_size:
                            continue
                log.warning("The %s file of batch %s was not complete at the first download", which, batch_id)
            land(made, path)
            grew = True
        return grew

    @property
    def _files(self) -> tuple[tuple[UPath, _Which], ...]:
        return (self.shard.output, "output"), (self.shard.errors, "error")

    def _download_when_ready(self, which: _Which, made: Path) -> bool:
        """Whether there is such a file; if so, it is now at `made`."""
        began = self.clock()
        while True:
            try:
                return self._download_whole(which, made)
            except (NotFoundError, RejectedError) as error:
                if error.code in {OVER_BOUND, NOT_WHOLE}:
                    raise
                if self.clock() - began < READY_SECONDS:
                    log.warning("%s. The batch names this file, so it should be readable soon", error)
                    self.sleep(_PAUSE_SECONDS)
                    continue
                if not _is_lost(self.shard, self.clock()):
                    raise RetryableError(
                        f"{error}. Batch {self.batch.id} has ended and names this file, but it cannot be read yet; "
                        "nothing is lost, try again later. If this lasts, check content_path in the profile"
                    ) from error
                if self._is_there(which):
                    raise RejectedError(
                        f"{error}. The server still has this file of batch {self.batch.id}, so its content is "
                        "somewhere else: set content_path, result_style and results_path in the connection's profile "
                        "to find it. Nothing is lost: the right profile gets the answers at no cost. If the "
                        f'server has lost them, write "lost": "forgotten" into {receipt_path(self.shard)}, and they '
                        "are sent again"
                    ) from error
                log.error("%s. Its requests are missing", error)  # noqa: TRY400 - the message says it all
                return False

    def _is_there(self, which: _Which) -> bool:
        """Whether the server has a file that cannot be read; False if that is unknown."""
        file_id = self.batch.output_file_id if which == "output" else self.batch.error_file_id
        if file_id is None or file_id.startswith(("https://", "http://")):
            return False
        try:
            self.client.get_file(file_id)
        except ApiError:
            return False
        return True

    def _download(self, which: _Which, made: Path) -> int | None:
        return self.client.download_results(self.batch, which, made, max_bytes=max_file_bytes(self.requests))

    def _download_whole(self, which: _Which, made: Path) -> bool:
        """Whether there is such a file. A file that ends in the middle of a line is downloaded several times.

        If it is the same each time, this is what the server has, and its other requests are missing.
        """
        sizes = set()
        for pause in (*_CUT_OFF_PAUSES, None):
            size = self._download(which, made)
            if size is None:
                return False
            if _ends_whole(made):
                return True
            sizes.add(size)
            log.warning("The %s file of batch %s ends in the middle of a line", which, self.batch.id)
            if pause is not None:
                self.sleep(pause)
        if len(sizes) == 1:
            return True
        raise RetryableError(
            f"the {which} file of batch {self.batch.id} came cut off, each time in another place; nothing is lost, "
            "download it again later"
        )


def _is_lost(shard: ShardFolder, now: float) -> bool:
    """Whether a file could not be read for so long that it counts as lost; records the first time."""
    receipt = read_receipt(shard)
    assert receipt is not None, "a shard that is collected has a receipt"
    if receipt.unreadable_since is None:
        note_of_batch(shard, receipt, unreadable_since=now)
        return False
    return now - receipt.unreadable_since >= FORGOTTEN_SECONDS


def _ends_whole(path: Path) -> bool:
    """Whether the last line is complete; its newline may be missing."""
    with path.open("rb") as file:
        if ends_with_newline(file):
            return True
        file.seek(0)
        last = deque(iter_lines(file), maxlen=1)
    if not last:
        return True
    parsed = parse_line(last[0])
    # In UTF-16 half of the last line end is left over. Complete JSON counts even if it is not a result line.
    return not isinstance(parsed, Anomaly) or parsed.kind not in {"not_json", "too_long"}
