"""Collect: fetch a finished batch's files once, and settle every request of its shard."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel
from upath import UPath

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.lines import Anomaly, ends_with_newline, iter_lines, parse_line
from greennode_batch.api.wire import Batch
from greennode_batch.collect.answers import AnswerReader
from greennode_batch.collect.results import write_results
from greennode_batch.errors import ConfigError, NotFoundError, RetryableError
from greennode_batch.receipts import Receipt, read_receipt, write_receipt
from greennode_batch.staging import ShardFolder, land, local_copy, remove_work_folders, work_folder

log = logging.getLogger(__name__)

_CUT_OFF_TRIES = 3


def collect_shard(shard: ShardFolder, client: GreenNodeClient, answer: type[BaseModel] | None) -> Counter[str]:
    """Requests of the shard by status. Files that are whole in staging are not fetched again.

    Both files are read whatever the batch's status is; they are read again for another answer model. Raises
    RetryableError while the batch is not finished.
    """
    receipt = read_receipt(shard)
    if receipt is None or receipt.batch_id is None:
        raise ConfigError(f"{shard}: no batch was created for this shard; submit it first")
    reader = AnswerReader(answer)
    if not is_read(shard, reader):
        _collect(shard, client, receipt, reader)
    counts = count_results(shard)
    log.info("Batch %s: %s", receipt.batch_id, ", ".join(f"{n:,} {status}" for status, n in counts.items()))
    return counts


def look_at(shard: ShardFolder, client: GreenNodeClient, receipt: Receipt) -> Batch:
    """The shard's batch as it stands. Raises NotFoundError, with the way out, if the server does not know it."""
    assert receipt.batch_id is not None
    try:
        return client.get_batch(receipt.batch_id)
    except NotFoundError as error:
        raise NotFoundError(
            f"{error}. It is the batch of shard {shard.shard_id}, and may have been billed. Was the base URL or the "
            f"key changed? Then change it back and run again. If the batch is gone for good, remove {shard.receipt} "
            "and run again, which pays for this shard anew",
            status=error.status,
            code=error.code,
            request_id=error.request_id,
        ) from error


def is_read(shard: ShardFolder, reader: AnswerReader) -> bool:
    """Whether the shard's results are there, as this reader reads answers."""
    if not shard.results.exists():
        return False
    with local_copy(shard.results) as path:
        return reader.made(pq.read_schema(path))


def count_results(shard: ShardFolder) -> Counter[str]:
    """Requests of a collected shard by status."""
    with local_copy(shard.results) as path:
        counted = pc.value_counts(pq.read_table(path, columns=["status"])["status"])
    return Counter({entry["values"]: entry["counts"] for entry in counted.to_pylist()})


def requested_ids(shard: ShardFolder) -> Iterator[str]:
    """The custom_id of every request of the shard."""
    if shard.source.exists():
        with local_copy(shard.source) as path:
            asked = pq.read_table(path, columns=["custom_id"])["custom_id"]
        yield from asked.drop_null().unique().to_pylist()
        return
    # A shard that was not built here: a folder with requests.jsonl alone.
    with local_copy(shard.requests) as path, path.open("rb") as file:
        for line in iter_lines(file):
            yield _id_decoder.decode(line).custom_id


class _HasId(msgspec.Struct):
    custom_id: str


_id_decoder = msgspec.json.Decoder(_HasId)


def _download(client: GreenNodeClient, batch: Batch, which: Literal["output", "error"], made: Path) -> int | None:
    """Fetch a file of results; its size, None if there is none. One that ends in half a line is fetched again.

    Where a server does not say how long a file is, a cut-off one looks whole but for its last line.
    """
    for _ in range(_CUT_OFF_TRIES):
        size = client.download_results(batch, which, made)
        if size is None or _ends_whole(made):
            return size
        log.warning("The %s file of batch %s ends in the middle of a line; fetching it again", which, batch.id)
    return size


def _ends_whole(path: Path) -> bool:
    """Whether the last line is a whole one; its newline may be missing."""
    with path.open("rb") as file:
        if ends_with_newline(file):
            return True
        file.seek(0)
        last = deque(iter_lines(file), maxlen=1)
    return not last or not isinstance(parse_line(last[0]), Anomaly)


def _collect(shard: ShardFolder, client: GreenNodeClient, receipt: Receipt, reader: AnswerReader) -> None:
    batch = look_at(shard, client, receipt)
    if not batch.status.is_terminal:
        raise RetryableError(f"batch {batch.id} is {batch.raw_status}: not finished yet; nothing is lost")
    with work_folder(shard.path) as work, ExitStack() as stack:
        wanted: tuple[tuple[UPath, Literal["output", "error"]], ...] = (
            (shard.output, "output"),
            (shard.errors, "error"),
        )
        for path, which in wanted:
            if path.exists():
                continue
            size = _download(client, batch, which, Path(work, path.name))
            if size is not None:
                land(Path(work, path.name), path)
                log.info("Fetched %s of batch %s (%.1f MB)", path.name, batch.id, size / 1e6)
        files = [stack.enter_context(local_copy(path)) for path in (shard.output, shard.errors) if path.exists()]
        made = Path(work, "results.parquet")
        anomalies = write_results(batch, files, requested_ids(shard), reader, made)
        for kind, count in anomalies.items():
            log.warning("Batch %s: %d lines: %s", batch.id, count, kind)
        land(made, shard.results)
    remove_work_folders(shard.path)
    write_receipt(shard, msgspec.structs.replace(receipt, state="collected"))
