"""Part files: the rows and requests that one task rendered from its part of a source, for the build to put into shards.

A file is a sequence of Arrow streams: one for each batch of rows, because the types of a column may differ between
batches, and a last one with the number of rows. Its name identifies what made it. Each part has its own folder, so that
files that a killed task left behind are not mistaken for those that another part's task is writing.
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

# Files with another format version cannot be read.
_FORMAT = 3
_ENDING = ".arrows"
_ROWS = b"rows"
# Long constant texts compress very well, and decompression takes a tenth of the time of making shards.
_PACKED = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_UNPACKED = pa.ipc.IpcReadOptions(use_threads=False)
# Depending on the batch, a key of one of these types may be stored as another type.
_KEPT_AS_THEY_ARE = (str, int, float, Decimal, datetime.date, datetime.time)


def write_part(job: BatchJob, rows: Rows, run: RunFolder, part: Part, *, profile: ApiProfile) -> int:
    """Render the requests of a part's rows and store both in staging as one file; return the number of rows.

    Holds one batch of rows, and what UniqueKeys holds. Safe to call again: the file is written again. Raises
    ConfigError or RowError for anything in these rows that `build` would refuse.
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
    """Read the rows of all parts with their requests, in the order of the parts. Holds one batch.

    Raises ConfigError, with the parts and what to do, if a part is missing, was made by an earlier version of the job,
    or was read from other files than the rest.
    """
    parts = [Part(number, job.partitions) for number in range(job.partitions)]
    found = {part: _names_in(run.part(*part)) for part in parts}
    # A part has two files if two tasks read it at once, because one was presumed dead.
    _refuse(
        [part for part, names in found.items() if len(names) != 1],
        f"are not in {run.parts} exactly once: clean-up removes them, and two tasks that read one part leave two files",
    )
    made_by = _made_by(job, job_request(job, profile))
    _refuse(
        [part for part, (name,) in found.items() if not name.startswith(f"{made_by}-")],
        "were made by another version of the job: its source, key, prompt, models, parameters, tokenizer or API "
        "profile have changed since",
    )
    # The rest of the name is Rows.origin, which is the same for all parts of one source.
    if len({name for (name,) in found.values()}) > 1:
        _refuse(parts, "were read from different sets of files: files came or went while they were read")
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
            f"part(s) {numbers} of {parts[0].total} {why}. Clear the tasks read_part of these numbers and everything "
            "downstream, so that the parts are read again. Nothing was sent"
        )


def _made_by(job: BatchJob, request: JobRequest) -> str:
    """A hash of everything besides the rows that determines a part's contents."""
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
    """Refuse a key that is stored as text in this batch but may have another type in another batch.

    Otherwise equal keys in different batches could go unnoticed.
    """
    for name in job.key_columns:
        kinds: set[type[Any]] = set(map(type, batch.values(name)))
        if kinds == {str} or not pa.types.is_string(batch.array(name).type):
            continue
        if len(kinds) > 1 or issubclass(kinds.pop(), _KEPT_AS_THEY_ARE):
            raise ConfigError(
                f"job {job.name}: the key {name} has values of several types, or numbers too large for a column. A "
                "source that is read in parts needs one type: cast it to text in the source. Nothing was sent"
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
            f"{path}: is damaged ({error}). Clear the task read_part of this part and everything downstream, so that "
            "the part is read again. Nothing was sent"
        ) from error
