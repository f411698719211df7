"""Part files: what one task has read and rendered of a source, for another one that puts it into shards.

A file is a row of Arrow streams: one for each batch of rows, for what types a column has differs from batch to batch,
and at the end the count of the rows. Its name tells what made it. It lies in a folder of its own, so that what a killed
task left there can be told from what another part's is at work on.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from upath import UPath

from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.texts import read_job_text
from greennode_batch.plan.unique_keys import UniqueKeys
from greennode_batch.request.job_request import JobRequest, job_request
from greennode_batch.request.needed_columns import needed_columns, refuse_missing
from greennode_batch.request.rendered_batch import RenderedBatch, stored_batch
from greennode_batch.request.request_templates import HELD_BYTES, request_templates, requests_of
from greennode_batch.request.token_counter import token_counter
from greennode_batch.source.partition import Part
from greennode_batch.source.rows import RowBatch, Rows, within_max_rows
from greennode_batch.staging.folders import RunFolder, fresh_names, land, local_copy, remove_work_folders, work_folder
from greennode_batch.state.plan import refuse_removed

# Where it is another one, files of before cannot be read.
_FORMAT = 3
_ENDING = ".arrows"
_ROWS = b"rows"
# Long constant texts are packed to little, and unpacking takes a tenth of what the shards take.
_PACKED = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_UNPACKED = pa.ipc.IpcReadOptions(use_threads=False)
# What a key of one such type is kept as may be another type in another batch.
_KEPT_AS_THEY_ARE = (str, int, float, Decimal, datetime.date, datetime.time)


def write_part(job: BatchJob, rows: Rows, run: RunFolder, part: Part, *, profile: ApiProfile) -> int:
    """Render the requests of a part's rows and lay both into staging, whole; how many rows it has.

    Holds a batch of rows, and what Keys holds. Safe to call again: the file is made anew. Raises ConfigError or
    RowError for whatever `build` would refuse in these rows.
    """
    refuse_removed(run)
    refuse_missing(job, rows.columns)
    request = job_request(job, profile)
    folder = run.part(*part)
    remove_work_folders(folder)
    with work_folder(folder) as work:
        made = Path(work) / "rows.arrows"
        with pa.OSFile(str(made), "wb") as file:
            count = _write(job, rows, file, Path(work), request)
        path = folder / f"{_made_by(job, request)}-{rows.origin}{_ENDING}"
        for name in _names_in(folder):
            if name != path.name:
                (folder / name).unlink(missing_ok=True)
        land(made, path)
    return count


def read_parts(job: BatchJob, run: RunFolder, *, profile: ApiProfile) -> Rows:
    """The rows of all parts with their requests, in the order of the parts. Holds a batch of them.

    Raises ConfigError, naming the parts and the way out, where one is missing, or was made by the job as it was
    declared before, or of other files than the others.
    """
    parts = [Part(number, job.partitions) for number in range(job.partitions)]
    found = {part: _names_in(run.part(*part)) for part in parts}
    # Two are there if two tasks have read the same part at once, of which one was thought dead.
    _refuse(
        [part for part, names in found.items() if len(names) != 1],
        f"are not in {run.parts} (any more): they go when a run is cleaned up",
    )
    made_by = _made_by(job, job_request(job, profile))
    _refuse(
        [part for part, (name,) in found.items() if not name.startswith(f"{made_by}-")],
        "were made by another version of the job: its source, key, prompt, models, parameters, tokenizer or API "
        "profile have changed since",
    )
    # The rest of a name is what the parts of one source have in common, as of Rows.
    if len({name for (name,) in found.values()}) > 1:
        _refuse(parts, "are not of the same files: files came or went while they were read")
    carried = (*job.key_columns, *job.carry)
    paths = [run.part(*part) / name for part, (name,) in found.items()]
    batches = (batch for path in paths for batch in _batches(path, carried, job.models))
    return Rows(tuple(sorted(needed_columns(job))), batches)


def _names_in(folder: UPath) -> list[str]:
    return [name for name in fresh_names(folder) if name.endswith(_ENDING)]


def _refuse(parts: Sequence[Part], why: str) -> None:
    if parts:
        numbers = ", ".join(str(part.number) for part in parts)
        raise ConfigError(
            f"part(s) {numbers} of {parts[0].total} {why}. Clear the tasks read_part of these numbers with all that is "
            "downstream, so that they are read again. Nothing was sent"
        )


def _made_by(job: BatchJob, request: JobRequest) -> str:
    """A hash of all that a part's contents depend on, beside the rows."""
    source = job.source
    if isinstance(source, SqlSource):
        source = dataclasses.replace(source, sql=read_job_text(source.sql))
    made_by = (
        _FORMAT,
        source,
        job.partitions,
        job.key_columns,
        job.carry,
        job.models,
        request,
        job.tokenizer,
    )
    return hashlib.blake2b(msgspec.json.encode(made_by), digest_size=16).hexdigest()


def _write(job: BatchJob, rows: Rows, file: pa.NativeFile, work: Path, request: JobRequest) -> int:
    templates = request_templates(job, request, rows.columns)
    names = (*job.key_columns, *job.carry)
    keys = UniqueKeys(job.key_columns, work)
    counter = token_counter(job)
    step = max(1, HELD_BYTES // sum(template.constant_bytes for template in templates))
    for batch in within_max_rows(rows, job.budget).batches:
        for start in range(0, len(batch), step):
            some = batch if len(batch) <= step else batch.take(range(start, min(start + step, len(batch))))
            added = keys.add(some)
            _refuse_mixed_keys(job, some)
            requests = [requests_of(template, some, added, keys.named, counter) for template in templates]
            stored = stored_batch(some, names, requests)
            with pa.ipc.new_stream(file, stored.schema, options=_PACKED) as stream:
                stream.write_batch(stored)
    keys.finish()
    pa.ipc.new_stream(file, pa.schema([], metadata={_ROWS: b"%d" % keys.count})).close()
    return keys.count


def _refuse_mixed_keys(job: BatchJob, batch: RowBatch) -> None:
    """Refuse a key that is kept as text here and may be kept otherwise elsewhere: equal ones would not be told."""
    for name in job.key_columns:
        kinds: set[type[Any]] = set(map(type, batch.values(name)))
        if kinds == {str} or not pa.types.is_string(batch.array(name).type):
            continue
        if len(kinds) > 1 or issubclass(kinds.pop(), _KEPT_AS_THEY_ARE):
            raise ConfigError(
                f"job {job.name}: the key {name} has values of several types, or numbers too large for a column; "
                "where a source is read in parts it needs one type: cast it to text in the source. Nothing was sent"
            )


def _batches(path: UPath, names: Sequence[str], models: Sequence[str]) -> Iterator[RenderedBatch]:
    count, said = 0, None
    with local_copy(path) as local, _damage_named(path), pa.OSFile(str(local)) as file:
        while file.tell() < file.size():
            with pa.ipc.open_stream(file, options=_UNPACKED) as stream:
                said = (stream.schema.metadata or {}).get(_ROWS)
                for stored in stream:
                    count += stored.num_rows
                    yield RenderedBatch(stored, names, models)
        if said != b"%d" % count:
            raise pa.ArrowInvalid(f"it ends after {count:,} rows")


@contextmanager
def _damage_named(path: UPath) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ConfigError(
            f"{path}: is damaged ({error}). Clear the task read_part of this number with all that is downstream, so "
            "that it is read again. Nothing was sent"
        ) from error
