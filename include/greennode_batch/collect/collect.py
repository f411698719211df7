"""Collect: fetch a finished batch's files once, and settle every request of its shard."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.collect.anomalies import AnomalyLog
from greennode_batch.collect.download import BatchFiles
from greennode_batch.collect.results import RESULT_FIELDS, write_results
from greennode_batch.cost.actual import tokens_in
from greennode_batch.errors import ApiError, ConfigError, NotFoundError, RetryableError
from greennode_batch.request.request_lines import request_ids
from greennode_batch.staging.folders import ShardFolder, land, local_copy, work_folder
from greennode_batch.staging.parquet import read_staged, read_table, staged_schema
from greennode_batch.state.receipts import EndedBatch, Receipt, note_of_batch, read_receipt, receipt_path
from greennode_batch.state.row_status import RowStatus

log = logging.getLogger(__name__)

_NEAR_SECONDS = 300.0
_POLL_SECONDS = 3.0
_RECEIPT_TOKENS = ("prompt_tokens", "completion_tokens")


def collect_shard(
    shard: ShardFolder,
    client: GreenNodeClient,
    answer: type[BaseModel] | None,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Counter[str]:
    """Requests of the shard by status. Files that are whole in staging are not fetched again.

    Both files are read whatever the batch's status is; they are read again for another answer model, for
    which the server is not needed. Raises RetryableError while the batch is not finished, or its files cannot be read.
    """
    receipt = read_receipt(shard)
    if receipt is None or receipt.batch_id is None:
        raise ConfigError(f"{shard}: no batch was created for this shard; submit it first")
    reader = AnswerReader(answer)
    if is_read(shard, reader):
        counts = count_results(shard)
    else:
        counts = _collect(shard, client, receipt, reader, clock=clock, sleep=sleep)
    log.info("Batch %s: %s", receipt.batch_id, ", ".join(f"{n:,} {status}" for status, n in counts.items()))
    return counts


def poll_batch(shard: ShardFolder, client: GreenNodeClient, receipt: Receipt) -> Batch:
    """The shard's batch as it stands. Raises NotFoundError, with the way out, if the server does not know it."""
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
            f"key changed? Then change it back and run again. If the batch is gone for good, {way_out}",
            status=error.status,
            code=error.code,
            request_id=error.request_id,
        ) from error


def is_read(shard: ShardFolder, reader: AnswerReader) -> bool:
    """Whether the shard's results are there, as this reader reads answers and this version writes them."""
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
    # A shard of a later attempt, or one that was not built here: a folder with requests.jsonl alone.
    return list(request_ids(shard))


def _ended_batch(
    shard: ShardFolder,
    client: GreenNodeClient,
    receipt: Receipt,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Batch:
    """The shard's batch, whose end is waited for if it is near, and who may be out of sight for a moment."""
    began = clock()
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
            if batch.status is not BatchStatus.CANCELLING or not is_early:
                raise RetryableError(f"batch {batch.id} is {batch.raw_status}: not finished yet; nothing is lost")
            log.info("Batch %s is being cancelled; waiting for its end", batch.id)
        sleep(_POLL_SECONDS)


def _collect(
    shard: ShardFolder,
    client: GreenNodeClient,
    receipt: Receipt,
    reader: AnswerReader,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Counter[str]:
    requested = requested_ids(shard)
    with work_folder(shard.path) as folder:
        work = Path(folder)
        try:
            batch, is_whole = _batch_and_files(shard, client, receipt, work, len(requested), clock=clock, sleep=sleep)
        except NotFoundError:
            # Either file may hold all that was asked: then nothing of the batch is missing with the server.
            batch, is_whole = _batch_of(receipt), True
            _, results = _settle(shard, batch, requested, reader, work, client=client)
            if count_statuses(results)[RowStatus.MISSING.value]:
                raise
        made, results = _settle(shard, batch, requested, reader, work, client=client)
        counts = count_statuses(results)
        missing = counts[RowStatus.MISSING.value]
        if missing and receipt.lost is None:
            log.warning("Batch %s: %d requests are in neither file; fetching them again to be sure", batch.id, missing)
            there = _batch_if_known(client, batch) if is_whole else batch
            if (
                there is not None
                and BatchFiles(shard, client, there, work, len(requested), clock, sleep).download_again()
            ):
                made, results = _settle(shard, batch, requested, reader, work, client=client)
                counts = count_statuses(results)
        tokens = tokens_in(results, _RECEIPT_TOKENS)
        anomalies = work / "anomalies.jsonl"
        if anomalies.exists():
            land(anomalies, shard.anomalies)
        land(made, shard.results)
    note_of_batch(shard, receipt, state="collected", statuses=dict(counts), **tokens)
    return counts


def _batch_and_files(
    shard: ShardFolder,
    client: GreenNodeClient,
    receipt: Receipt,
    work: Path,
    requests: int,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> tuple[Batch, bool]:
    """The batch, whose files are in staging then, and whether they were before, so that the server was not asked."""
    if receipt.lost is not None or _is_whole(shard, receipt):
        return _batch_of(receipt), True
    batch = _ended_batch(shard, client, receipt, clock=clock, sleep=sleep)
    ended = EndedBatch(batch.status.name, batch.raw_status, batch.completed_at, batch.errors)
    note_of_batch(shard, receipt, ended=ended)
    BatchFiles(shard, client, batch, work, requests, clock, sleep).download()
    return batch, False


def _batch_if_known(client: GreenNodeClient, batch: Batch) -> Batch | None:
    """The batch as the server has it; None where it does not."""
    try:
        return client.get_batch(batch.id)
    except ApiError as error:
        log.warning("%s. What is in staging is all there is", error)
        return None


def _is_whole(shard: ShardFolder, receipt: Receipt) -> bool:
    """Whether all that the batch has to tell is in staging: each file lands there whole, or not at all."""
    found = [path.exists() for path in (shard.output, shard.errors)]
    return all(found) or (any(found) and receipt.state == "collected")


def _batch_of(receipt: Receipt) -> Batch:
    """The batch as its receipt describes it."""
    batch_id = receipt.batch_id or ""
    if receipt.lost is not None or receipt.ended is None:
        return Batch(id=batch_id, status=BatchStatus.UNKNOWN, raw_status=receipt.lost or "not known any more")
    ended = receipt.ended
    return Batch(
        id=batch_id,
        status=BatchStatus.__members__.get(ended.status, BatchStatus.UNKNOWN),
        raw_status=ended.raw_status,
        completed_at=ended.completed_at,
        errors=ended.errors,
    )


def _settle(
    shard: ShardFolder,
    batch: Batch,
    requested: Collection[str],
    reader: AnswerReader,
    work: Path,
    *,
    client: GreenNodeClient,
) -> tuple[Path, pa.Table]:
    """Make the shard's results, and its anomalies if there are any; the results' statuses and tokens."""
    made = work / "results.parquet"
    with ExitStack() as stack:
        log_of_anomalies = stack.enter_context(AnomalyLog(work / "anomalies.jsonl"))
        files = [stack.enter_context(local_copy(path)) for path in (shard.output, shard.errors) if path.exists()]
        paths = client.profile.result_fields
        write_results(batch, files, requested, reader, made, anomalies=log_of_anomalies, paths=paths)
    for kind, count in log_of_anomalies.counts.items():
        log.warning("Batch %s: %d lines: %s (see anomalies.jsonl in staging)", batch.id, count, kind)
    return made, read_table(made, ["status", *_RECEIPT_TOKENS])
