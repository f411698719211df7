"""Collect: download a finished batch's files once, and settle every request of its shard."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel
from upath import UPath

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import may_be_over, state_of
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.collect.anomalies import AnomalyLog
from greennode_batch.collect.download import BatchFiles
from greennode_batch.collect.result_rows import PAID_TWICE
from greennode_batch.collect.results import RESULT_FIELDS, LinesRead, write_results
from greennode_batch.collect.same_failure import refuse_same_failure
from greennode_batch.collect.unread import MIN_READ_RATIO, Unread, refuse_unread, unread_results
from greennode_batch.cost.actual import tokens_in
from greennode_batch.errors import ApiError, ConfigError, NotFoundError, RetryableError, UnfinishedError
from greennode_batch.request.request_lines import request_ids
from greennode_batch.spans import CHAT, COLLECT, PROVIDER
from greennode_batch.staging.folders import RunFolder, ShardFolder, land, local_copy, work_folder
from greennode_batch.staging.parquet import read_staged, read_table, staged_schema
from greennode_batch.state.attempts import planned_model
from greennode_batch.state.confirmed_profile import confirm, is_confirmed
from greennode_batch.state.live_answers import LIVE_BATCH_ID, LiveFolder
from greennode_batch.state.plan import limits_of
from greennode_batch.state.receipts import EndedBatch, Receipt, note_of_batch, read_receipt, receipt_path
from greennode_batch.state.row_status import RowStatus
from greennode_batch.state.stops import is_in_run, lift_stop, unread_path

log = logging.getLogger(__name__)

_NEAR_SECONDS = 300.0
_QUIET_SECONDS = 60.0
_POLL_SECONDS = 3.0
_RECEIPT_TOKENS = ("prompt_tokens", "completion_tokens")


@COLLECT.around(
    lambda shard, client, *_, **_options: {
        "shard_id": shard.shard_id,
        "attempt": shard.attempt,
        "server": client.host,
    },
    lambda counts: {"requests": counts.total(), "statuses": counts},
)
def collect_shard(
    shard: ShardFolder,
    client: GreenNodeClient,
    answer: type[BaseModel] | None,
    *,
    min_read_ratio: float = MIN_READ_RATIO,
    systematic_failure_ratio: float | None = None,
    explains_errors: bool = False,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Counter[str]:
    """Requests of the shard by status. Files that are complete in staging are not downloaded again.

    Both files are read whatever the batch's status is; for another answer model they are read again, without the
    server. Raises UnfinishedError while the batch is not finished, RetryableError while it is being cancelled, or its
    files cannot be read, and UnreadResultsError if readable lines settle less than `min_read_ratio` of a completed
    batch: then the run stops, and the files stay for a profile that reads them. Raises SystematicFailureError, with the
    results in staging, if `systematic_failure_ratio` of the model's requests ended unusable for one reason.
    """
    receipt = read_receipt(shard)
    if receipt is None or not receipt.is_through:
        raise ConfigError(f"{shard}: no batch was created for this shard; submit it first")
    reader = reader_of(shard.run, answer)
    if is_read(shard, reader):
        counts = count_results(shard)
    else:
        counts = _collect(shard, client, receipt, reader, min_read_ratio, clock=clock, sleep=sleep)
    lift_stop(unread_path(shard))
    what = f"Batch {receipt.batch_id}" if receipt.live is None else f"Shard {shard.shard_id}, answered live"
    log.info("%s: %s", what, ", ".join(f"{n:,} {status}" for status, n in counts.items()))
    refuse_same_failure(shard, systematic_failure_ratio, explains_errors=explains_errors, now=clock())
    return counts


def poll_batch(shard: ShardFolder, client: GreenNodeClient, receipt: Receipt) -> Batch:
    """The shard's batch as it is now. Raises NotFoundError, with the way out, if the server has no such batch."""
    assert receipt.batch_id is not None
    try:
        return client.get_batch(receipt.batch_id)
    except NotFoundError as error:
        way_out = f"remove every receipt*.json in {shard} and run again, which pays for this shard again"
        if shard.output.exists() or shard.errors.exists():
            way_out = (
                f'write "lost": "forgotten" into {receipt_path(shard)} and run again: the answers that are in staging '
                "are kept, and the other requests are sent again"
            )
        raise NotFoundError(
            f"{error}. It is the batch of shard {shard.shard_id}, and may have been billed. Was the base URL or the "
            f"key changed? Then change it back and run again. If the batch is lost, {way_out}",
            status=error.status,
            code=error.code,
            request_id=error.request_id,
        ) from error


def reader_of(run: RunFolder, answer: type[BaseModel] | None) -> AnswerReader:
    """The reader of a run's answers: what a target's column does not hold is not a valid answer."""
    return AnswerReader(answer, limits_of(run))


def is_read(shard: ShardFolder, reader: AnswerReader) -> bool:
    """Whether the shard's results exist, as this reader reads answers and this version writes them."""
    if not shard.results.exists():
        return False
    schema = staged_schema(shard.results)
    return reader.made(schema) and {field.name for field in RESULT_FIELDS}.issubset(schema.names)


def count_results(shard: ShardFolder) -> Counter[str]:
    """Requests of a collected shard by status."""
    return count_statuses(read_staged(shard.results, ["status"]))


def count_statuses(results: pa.Table) -> Counter[str]:
    """Requests of a file of results by status."""
    return Counter({entry["values"]: entry["counts"] for entry in pc.value_counts(results["status"]).to_pylist()})


def requested_ids(shard: ShardFolder) -> Collection[str]:
    """The custom_id of every request of the shard."""
    if shard.source.exists():
        requested: list[str] = read_staged(shard.source, ["custom_id"])["custom_id"].drop_null().unique().to_pylist()
        return requested
    # A shard of a later attempt, or one that was not built here: a folder with only requests.jsonl.
    return list(request_ids(shard))


def _ended_batch(
    shard: ShardFolder,
    client: GreenNodeClient,
    receipt: Receipt,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Batch:
    """The shard's batch; waits if its end is near, or if it is missing for a moment."""
    began = quiet_since = clock()
    before: str | None = None
    while True:
        is_early = clock() - began < _NEAR_SECONDS
        try:
            batch = poll_batch(shard, client, receipt)
        except NotFoundError as error:
            if not is_early:
                raise
            log.warning("%s. Looking again", error)
        else:
            if batch.status.is_terminal:
                return batch
            if may_be_over(batch):
                before, quiet_since = (before, quiet_since) if state_of(batch) == before else (state_of(batch), clock())
                if clock() - quiet_since >= _QUIET_SECONDS:
                    log.warning(
                        "Batch %s is %s, an unknown word; it names its result files and has not changed for "
                        "%.0f s, so they are read. If the word is an end, name it in the profile (status_words)",
                        batch.id,
                        batch.raw_status,
                        _QUIET_SECONDS,
                    )
                    return batch
            elif batch.status is not BatchStatus.CANCELLING or not is_early:
                kind = RetryableError if batch.status is BatchStatus.CANCELLING else UnfinishedError
                raise kind(f"batch {batch.id} is {batch.raw_status}: not finished yet; nothing is lost")
            log.info("Batch %s is being cancelled; waiting for its end", batch.id)
        sleep(_POLL_SECONDS)


def _collect(
    shard: ShardFolder,
    client: GreenNodeClient,
    receipt: Receipt,
    reader: AnswerReader,
    min_read_ratio: float,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Counter[str]:
    requested = requested_ids(shard)
    was_unread = unread_path(shard).exists()
    with work_folder(shard.path) as folder:
        work = Path(folder)
        batch, is_whole = _batch_and_files(
            shard, client, receipt, work, requested=requested, reader=reader, clock=clock, sleep=sleep
        )
        settled = _settle(shard, batch, requested, reader, work, client=client)
        unread = _unread(shard, client, receipt, batch, settled, min_ratio=min_read_ratio)
        missing = settled.counts[RowStatus.MISSING.value]
        if receipt.lost is None and receipt.live is None and (missing or unread is not None):
            log.warning("Batch %s: %d requests are in neither file; downloading again to be sure", batch.id, missing)
            there = _batch_if_known(client, batch) if is_whole else batch
            # A file that could not be read before may not be a result file at all, whatever its length.
            if there is not None and BatchFiles(
                shard, client, there, work, len(requested), clock, sleep
            ).download_again(replace=was_unread and unread is not None):
                settled = _settle(shard, batch, requested, reader, work, client=client)
                unread = _unread(shard, client, receipt, batch, settled, min_ratio=min_read_ratio)
        anomalies = work / "anomalies.jsonl"
        if anomalies.exists():
            land(anomalies, shard.anomalies)
        if unread is not None:
            refuse_unread(shard, batch, settled.read, unread, requests=len(requested), now=clock())
        land(settled.made, shard.results)
    # Earlier downloads do not confirm the current profile, unless it has made them readable.
    if settled.read.settled and (was_unread or not is_whole) and receipt.live is None and is_in_run(shard):
        confirm(_root(shard), client.host, client.profile, now=clock())
    note_of_batch(shard, receipt, state="collected", statuses=dict(settled.counts), **settled.tokens)
    if receipt.state != "collected":
        CHAT.record(
            lambda: _life(shard, receipt, batch, settled),
            began_at=receipt.created_at,
            ended_at=batch.completed_at or clock(),
        )
    return settled.counts


def _life(shard: ShardFolder, receipt: Receipt, batch: Batch, settled: _Settled) -> dict[str, Any]:
    """What the span of the shard's batch, or of its live answers, has as attributes."""
    return {
        "operation": "chat",
        "provider": PROVIDER,
        "model": planned_model(shard),
        "input_tokens": settled.tokens["prompt_tokens"],
        "output_tokens": settled.tokens["completion_tokens"],
        "shard_id": shard.shard_id,
        "attempt": shard.attempt,
        "server": receipt.server or None,
        "mode": "batch" if receipt.live is None else "live",
        "batch_id": receipt.batch_id,
        "status": receipt.lost or batch.status.name.lower(),
        "requests": settled.counts.total(),
        "statuses": settled.counts,
    }


def _unread(
    shard: ShardFolder,
    client: GreenNodeClient,
    receipt: Receipt,
    batch: Batch,
    settled: _Settled,
    *,
    min_ratio: float,
) -> Unread | None:
    """Why the results cannot be read; None if they can, or if a person or the server has given the batch up."""
    if receipt.lost is not None:
        return None
    return unread_results(
        batch,
        settled.read,
        settled.anomalies,
        requests=settled.counts.total(),
        has_files=shard.output.exists() or shard.errors.exists(),
        lacks_file=(batch.output_file_id is not None and not shard.output.exists())
        or (batch.error_file_id is not None and not shard.errors.exists()),
        is_confirmed=is_in_run(shard) and is_confirmed(_root(shard), client.host, client.profile),
        min_ratio=min_ratio,
    )


def _root(shard: ShardFolder) -> UPath:
    """The staging area of a shard of a run."""
    return shard.run.path.parent.parent


def _batch_and_files(
    shard: ShardFolder,
    client: GreenNodeClient,
    receipt: Receipt,
    work: Path,
    *,
    requested: Collection[str],
    reader: AnswerReader,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> tuple[Batch, bool]:
    """The batch, with its files in staging, and whether they were there before, so that the server was not asked."""
    if receipt.live is not None:
        if not shard.output.exists():
            LiveFolder(shard).put_together()
        return _batch_of(receipt), True
    if receipt.lost == "overdue" and not _is_whole(shard, receipt):
        _download_overdue(shard, client, receipt, work, requests=len(requested), clock=clock, sleep=sleep)
    if receipt.lost is not None or _is_whole(shard, receipt):
        return _batch_of(receipt), True
    try:
        batch = _ended_batch(shard, client, receipt, clock=clock, sleep=sleep)
        ended = EndedBatch(batch.status.name, batch.raw_status, batch.completed_at, batch.errors)
        note_of_batch(shard, receipt, ended=ended)
        BatchFiles(shard, client, batch, work, len(requested), clock, sleep).download()
    except NotFoundError:
        # Either file may hold all answers: then the server has nothing more of this batch.
        batch = _batch_of(receipt)
        if _settle(shard, batch, requested, reader, work, client=client).counts[RowStatus.MISSING.value]:
            raise
        return batch, True
    return batch, False


def _download_overdue(
    shard: ShardFolder,
    client: GreenNodeClient,
    receipt: Receipt,
    work: Path,
    *,
    requests: int,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Download the files that a given-up batch still names: its answers are paid for, whatever its status says."""
    batch = _batch_if_known(client, _batch_of(receipt))
    if batch is None or not _names_file(batch):
        return
    try:
        BatchFiles(shard, client, batch, work, requests, clock, sleep).download()
    except ApiError as error:
        log.warning("%s. The batch was given up at its deadline, so its other requests are too", error)


def _names_file(batch: Batch) -> bool:
    return batch.output_file_id is not None or batch.error_file_id is not None


def _batch_if_known(client: GreenNodeClient, batch: Batch) -> Batch | None:
    """The batch at the server; None if the server does not know it."""
    try:
        return client.get_batch(batch.id)
    except ApiError as error:
        log.warning("%s. The files in staging are all that remains", error)
        return None


def _is_whole(shard: ShardFolder, receipt: Receipt) -> bool:
    """Whether staging holds all files of the batch: each one lands there complete, or not at all."""
    found = [path.exists() for path in (shard.output, shard.errors)]
    return all(found) or (any(found) and receipt.state == "collected")


def _batch_of(receipt: Receipt) -> Batch:
    """The batch as its receipt describes it; live answers are taken as one that has ended."""
    batch_id = receipt.answered_by or ""
    if receipt.lost is not None or receipt.ended is None:
        words = PAID_TWICE if receipt.pays_twice else receipt.lost or "not known any more"
        return Batch(id=batch_id, status=BatchStatus.UNKNOWN, raw_status=words)
    ended = receipt.ended
    return Batch(
        id=batch_id,
        status=BatchStatus.__members__.get(ended.status, BatchStatus.UNKNOWN),
        raw_status=ended.raw_status,
        completed_at=ended.completed_at,
        errors=ended.errors,
    )


class _Settled(NamedTuple):
    """The shard's results while they are made: the file, requests by status, tokens, and how many lines were read."""

    made: Path
    counts: Counter[str]
    tokens: dict[str, int]
    read: LinesRead
    anomalies: Counter[str]


def _settle(
    shard: ShardFolder,
    batch: Batch,
    requested: Collection[str],
    reader: AnswerReader,
    work: Path,
    *,
    client: GreenNodeClient,
) -> _Settled:
    """Make the shard's results, and its anomalies if there are any."""
    made = work / "results.parquet"
    with ExitStack() as stack:
        log_of_anomalies = stack.enter_context(AnomalyLog(work / "anomalies.jsonl"))
        files = [stack.enter_context(local_copy(path)) for path in (shard.output, shard.errors) if path.exists()]
        # Lines of live answers are our own, whatever those of this server's files are.
        paths = {} if batch.id == LIVE_BATCH_ID else client.profile.result_fields
        read = write_results(batch, files, requested, reader, made, anomalies=log_of_anomalies, paths=paths)
    for kind, count in log_of_anomalies.counts.items():
        log.warning("Batch %s: %d lines: %s (see anomalies.jsonl in staging)", batch.id, count, kind)
    results = read_table(made, ["status", *_RECEIPT_TOKENS])
    counts, tokens = count_statuses(results), tokens_in(results, _RECEIPT_TOKENS)
    return _Settled(made, counts, tokens, read, log_of_anomalies.counts)
