"""Checks that every row has its own answer: a benchmark that loses rows, or mixes them up, is worth nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b

import msgspec
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from bench_folder import BenchFolder
from bench_job import run_of
from bench_request import CHANGED_RUN_ID, QUESTION
from made_rows import DIGEST_CHARACTERS, digest, engine_requests, requested

from greennode_batch.state.plan import read_plan

_READ_ROWS = 10_000
Batches = Iterable[tuple[pa.Array, pa.Array, pa.Array]]
"""Ids, the mark that distinguishes answers, and statuses."""


def check_typed(folder: BenchFolder) -> None:
    """Raise unless the results of typed answers hold every request once, with the answer generated for it."""
    for shard_id, requests in engine_requests(folder):
        expected = {custom_id: ("succeeded", digest(question)) for _, custom_id, question in requested(requests)}
        path = str(run_of(folder).shard(shard_id).results)
        ids, statuses, digests = pq.read_table(path, columns=["custom_id", "status", "digest"]).to_pydict().values()
        if len(ids) != len(expected) or dict(zip(ids, zip(statuses, digests, strict=True), strict=True)) != expected:
            raise AssertionError(f"{path}: a request has no answer, or that of another")


def check_files(folder: BenchFolder) -> None:
    """Raise unless the files of engine and floor hold every row once, with the answer generated for it."""
    for answers in (folder.engine_answers, folder.floor_answers):
        _check(folder, _of_files(str(answers), 0, DIGEST_CHARACTERS), digest, str(answers))


def check_emulated(folder: BenchFolder, answers: str) -> None:
    """Raise unless the Parquet files hold every row once, with the emulator's answer to it."""
    _check(folder, _of_files(answers, 1, 9), _fingerprint, answers)


def check_tables(folder: BenchFolder) -> None:
    """Raise unless the tables of engine and floor hold every row once, with the answer generated for it."""
    for table in ("bench_engine", "bench_floor"):
        _check(folder, _of_table(table, f"left(answer, {DIGEST_CHARACTERS})"), digest, table)


def check_asked(folder: BenchFolder) -> None:
    """Raise unless the run over changed rows sends each of them once, and no other row."""
    run = run_of(folder, CHANGED_RUN_ID)
    plan = read_plan(run)
    assert plan is not None, "build comes first"
    sent = [
        id_ for shard in plan.shards for id_ in pq.read_table(str(run.shard(shard.shard_id).source))["id"].to_pylist()
    ]
    rows = pq.read_metadata(folder.rows).num_rows
    if sorted(sent) != list(range(0, rows, 100)):
        raise AssertionError(f"{len(sent):,} of {rows:,} rows were sent, which are not those that were changed")


def check_emulated_table(folder: BenchFolder, table: str) -> None:
    """Raise unless the table holds every row once, with the emulator's answer to it."""
    _check(folder, _of_table(table, "substr(answer, 2, 8)"), _fingerprint, table)


def _of_files(answers: str, first: int, last: int) -> Batches:
    dataset = pads.dataset(answers, format="parquet", exclude_invalid_files=False)
    for batch in dataset.to_batches(columns=["id", "answer", "status"], batch_size=_READ_ROWS):
        yield batch["id"], pc.utf8_slice_codeunits(batch["answer"], first, last), batch["status"]


def _of_table(table: str, mark: str) -> Batches:
    with psycopg.connect(os.environ["BENCH_DSN"]) as connection:
        cursor = connection.cursor(name="check")
        cursor.execute(f"SELECT id, {mark}, status FROM {table}")  # type: ignore[call-overload]  # noqa: S608
        while rows := cursor.fetchmany(_READ_ROWS):
            ids, marks, statuses = (pa.array(column) for column in zip(*rows, strict=True))
            yield ids, marks, statuses


def _check(folder: BenchFolder, batches: Batches, mark_of: Callable[[str], str], where: str) -> None:
    expected = np.concatenate(list(_expected(folder, mark_of)))
    seen = np.zeros(len(expected), dtype=bool)
    for ids, marks, statuses in batches:
        if len(ids) == 0:
            continue
        indexes = ids.to_numpy()
        if seen[indexes].any() or len(np.unique(indexes)) < len(indexes):
            raise AssertionError(f"{where}: a row is there twice")
        seen[indexes] = True
        if not pc.all(pc.equal(statuses, "succeeded")).as_py():
            raise AssertionError(f"{where}: a row has no answer")
        if (expected[indexes] != _numbers(marks.to_pylist())).any():
            raise AssertionError(f"{where}: a row has the answer of another")
    if not seen.all():
        raise AssertionError(f"{where}: {int((~seen).sum()):,} of {len(seen):,} rows are not there")


def _expected(folder: BenchFolder, mark_of: Callable[[str], str]) -> Iterator[np.ndarray]:
    """The marks of the answers, in the order of the ids, which count from 0."""
    with pq.ParquetFile(folder.rows) as file:
        for batch in file.iter_batches(_READ_ROWS, columns=["text"]):
            yield _numbers([mark_of(QUESTION + text) for text in batch[0].to_pylist()])


def _fingerprint(question: str) -> str:
    """The text in brackets of the emulator's answer."""
    messages = [{"content": question, "role": "user"}]
    return blake2b(msgspec.json.encode(messages, order="deterministic"), digest_size=4).hexdigest()


def _numbers(marks: list[str]) -> np.ndarray:
    return np.array([int(mark, 16) for mark in marks], dtype=np.uint64)


def check_answered(folder: BenchFolder, answers: str) -> None:
    """Raise unless a peer's file holds every row once, with any answer."""
    got = pq.read_table(answers, columns=["id", "answer"])
    rows, distinct = pq.read_metadata(folder.rows).num_rows, pc.count_distinct(got["id"]).as_py()
    if (got.num_rows, distinct, got["answer"].null_count) != (rows, rows, 0):
        raise AssertionError(
            f"{answers}: {got.num_rows:,} rows, {distinct:,} ids and {got['answer'].null_count:,} without an answer, "
            f"where the source has {rows:,} rows"
        )
