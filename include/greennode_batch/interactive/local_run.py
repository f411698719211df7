"""Local run: a run in one process that keeps its state in a local folder. The same content is the same run."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from upath import UPath

from greennode_batch.answers.answer_schema import response_format
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.batches.live_pace import LiveLimits
from greennode_batch.batches.live_share import LiveShare
from greennode_batch.batches.throttle.limits import Limits
from greennode_batch.batches.throttle.queue import SubmitQueue
from greennode_batch.batches.throttle.queue_folder import queue_folder
from greennode_batch.cleanup.remote_files import remove_remote_files
from greennode_batch.errors import ApiError, AuthError, ConfigError, CreditError
from greennode_batch.interactive.api_key import KEY_VARIABLE
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.prices import Prices
from greennode_batch.job.sources import FileSource, SqlSource
from greennode_batch.job.texts import read_job_text
from greennode_batch.run import Progress, run_to_file, unseen
from greennode_batch.source.formats.file_listing import SourceFile, source_files
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import RunFolder, read_json, run_folder
from greennode_batch.staging.modes import make_folder
from greennode_batch.staging.stores import open_path
from greennode_batch.state.attempts import all_sent
from greennode_batch.state.enqueued_limit import EnqueuedLimits
from greennode_batch.state.plan import PILOT_REQUESTS, read_plan
from greennode_batch.state.receipts import is_sent
from greennode_batch.state.run_report import RunReport
from greennode_batch.wording import done_again
from greennode_batch.write.answer_file import AnswerFile
from greennode_batch.write.dataset import Dataset

_BLOCK_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_GO_ON = "What was sent is kept in staging; {again} to go on, and nothing is paid twice"


def run_id_of(job: BatchJob, base_url: str, *, limit: int | None = None) -> str:
    """Identifies a run: the same command on the same content; another prompt, model, file or server is another run.

    The content of a query is its text. Reads files once. Holds a few megabytes.
    """
    return _hash(job, _content(job.source), base_url, limit)


def question_id_of(job: BatchJob, base_url: str) -> str:
    """The same for what a job asks, of whichever rows."""
    return _hash(job, None, base_url, None)


def _hash(job: BatchJob, content: Any, base_url: str, limit: int | None) -> str:
    requested = [
        job.key_columns, job.carry, job.models, _said(job.prompt), _said(job.system), dict(job.params),
        content, base_url.rstrip("/"),
        *([job.source.format] if isinstance(job.source, FileSource) and job.source.format else []),
        *([job.samples] if job.samples > 1 else []),
        *filter(None, [_more(job, limit)]),
    ]  # fmt: skip
    return hashlib.blake2b(json.dumps(requested, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def _more(job: BatchJob, limit: int | None) -> dict[str, Any]:
    """Further options that distinguish runs, if they are given."""
    types = job.source.types if isinstance(job.source, FileSource) else {}
    dialect = job.source.dialect if isinstance(job.source, FileSource) else ()
    more = {
        "answer": response_format(job.answer) if job.answer else None,
        "messages": job.messages,
        "row_params": dict(job.row_params),
        "types": dict(types),
        "dialect": dialect if any(value is not None for value in dialect) else None,
        "target_key": None if isinstance(job.model, str) else job.target_key,
        "limit": limit,
    }
    return {name: value for name, value in more.items() if value}


def _said(text: str | None) -> str | None:
    """A prompt as it is said, also where the job names its file."""
    return None if text is None else read_job_text(text)


def _content(source: FileSource | SqlSource) -> Any:
    if isinstance(source, SqlSource):
        return [source.conn_id, read_job_text(source.sql), dict(source.parameters)]
    contents = [(file.name, _digest(file)) for file in source_files(open_path(source.path), source.format)]
    return contents if contents[0][0] else contents[0][1]


def _digest(file: SourceFile) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.stream() as opened:
        while block := opened.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def run_here(
    job: BatchJob,
    rows: Callable[[], Rows],
    client: GreenNodeClient,
    staging: Path,
    open_out: Callable[[RunFolder], AnswerFile | Dataset],
    *,
    run_id: str,
    prices: Prices | None = None,
    limits: Limits | None = None,
    live_limits: LiveLimits | None = None,
    progress: Progress = unseen,
    pilot_requests: int = PILOT_REQUESTS,
) -> RunReport:
    """Run a job as `run_to_file` does, in the folder of its content; a run that is over is followed by another one.

    run_id: see run_id_of. open_out: opens where the answers go, for a run. limits: on what all runs of this staging
    folder have at the server. live_limits: on their live answers. Raises ConfigError while another process is working
    on this content.
    """
    first = run_folder(staging, job.name, run_id)
    line = queue_folder(UPath(staging), client.host)
    queue = SubmitQueue(line, limits, client) if limits else None
    share = LiveShare(UPath(staging), client.host) if live_limits and live_limits.are_shared else None

    def run_in(folder: RunFolder) -> RunReport:
        with _told_how_to_go_on(folder), closing(open_out(folder)) as out:
            return run_to_file(
                job,
                rows,
                client,
                folder,
                out,
                run_id=folder.path.name,
                prices=prices,
                admit=queue.admit if queue else None,
                enqueued=EnqueuedLimits(line),
                limits=live_limits,
                share=share,
                progress=progress,
                pilot_requests=pilot_requests,
            )

    with _alone_in(first):
        over, folder = _runs_of(staging, job, run_id)
        if over:
            # It may have been stopped after its report.
            remove_remote_files(over[-1], client, keep=bool(job.keep_remote_files))
        if over and not open_out(first).all_files():
            # Answers that are paid for are written again, not requested again.
            for one in over:
                run_in(one)
        return run_in(folder)


@contextmanager
def _told_how_to_go_on(run: RunFolder) -> Iterator[None]:
    """Add to an error what became of the requests, and how to continue."""
    try:
        yield
    except (ApiError, OSError, KeyboardInterrupt) as error:
        if isinstance(error, AuthError):
            error.add_note(f"The key comes from {KEY_VARIABLE}: check that variable")
        if isinstance(error, CreditError):
            error.add_note("Top up the account first: nothing more was submitted; batches that were submitted go on")
        if isinstance(error, OSError) and error.errno in _FULL:
            error.add_note(f"A disk is full: make room where {run.path}, the answers and temporary files lie")
        again = done_again()
        nothing = f"Nothing was sent; {again} to {'begin' if isinstance(error, KeyboardInterrupt) else 'try again'}"
        error.add_note(_GO_ON.format(again=again) if _was_something_sent(run) else nothing)
        raise


def _was_something_sent(run: RunFolder) -> bool:
    plan = read_plan(run)
    shards = all_sent(run, plan) if plan is not None else ()
    folders = [one.folder(run) for one in shards]
    return run.canary.exists() or any(shard.uploading.exists() or is_sent(shard) for shard in folders)


def _runs_of(staging: Path, job: BatchJob, run_id: str) -> tuple[list[RunFolder], RunFolder]:
    """The finished runs of this content, in order, and the one to continue or begin."""
    over: list[RunFolder] = []
    for number in itertools.count(1):
        run = run_folder(staging, job.name, run_id if number == 1 else f"{run_id}-{number}")
        made = read_json(run.report, RunReport)
        if made is None or not made.balanced:
            break
        over.append(run)
    return over, run


@contextmanager
def _alone_in(run: RunFolder) -> Iterator[None]:
    """Hold the run's lock, which ends with the process, however it ends."""
    path = Path(str(run), "lock")
    make_folder(path.parent)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another process is working on this run ({run}); wait for it, or stop it") from None
        yield
