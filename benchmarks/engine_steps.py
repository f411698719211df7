"""The engine's steps, one a process, called as the command line and the operators call them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from bench_folder import BenchFolder
from bench_job import BATCH, IN_PARTS, JOB, ON_TABLE, Section, run_of
from bench_request import CACHED_RUN_ID, CHANGED_RUN_ID, PARTS_RUN_ID, RUN_ID
from stopwatch import Stopwatch
from upath import UPath

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.wire import Batch
from greennode_batch.collect.collect import collect_shard
from greennode_batch.incremental.target_lookup import TableLookup
from greennode_batch.plan.build import build
from greennode_batch.plan.partition_files import read_parts, write_part
from greennode_batch.reconcile.record_answers import AnsweredTable
from greennode_batch.reconcile.report import check_balanced, report
from greennode_batch.reconcile.written_targets import written_rows
from greennode_batch.request.needed_columns import needed_columns
from greennode_batch.source.files import read_files
from greennode_batch.source.partition import Part
from greennode_batch.source.sql import read_sql
from greennode_batch.staging.folders import ShardFolder, remove_tree
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import Receipt, first_receipt
from greennode_batch.tables.open_table import sql_table
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.join import JoinedRows, join_shard
from greennode_batch.write.target_writer import OpenTarget, write_shard

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = "SELECT id, text FROM bench_rows"
# Nothing listens there, and nothing is asked.
_NO_SERVER = "http://127.0.0.1:9/v1"


def build_from_file(folder: BenchFolder, watch: Stopwatch) -> None:
    """Rows of the Parquet file become shards."""
    with watch("build"):
        build(
            JOB,
            lambda: read_files(UPath(folder.rows), columns=needed_columns(JOB)),
            run_of(folder),
            run_id=RUN_ID,
            profile=ApiProfile(),
        )


def build_from_table(folder: BenchFolder, watch: Stopwatch) -> None:
    """Rows of a table become shards."""
    with psycopg.connect(os.environ["BENCH_DSN"]) as connection, watch("build"):
        build(JOB, lambda: read_sql(connection, _ROWS), run_of(folder), run_id=RUN_ID, profile=ApiProfile())


def write_parts(folder: BenchFolder, watch: Stopwatch) -> None:
    """Each quarter of the file's rows in turn is read and rendered, as a task for each part does it."""
    for number in range(IN_PARTS.partitions):
        part = Part(number, IN_PARTS.partitions)
        with watch("write parts"):
            rows = read_files(UPath(folder.rows), columns=needed_columns(IN_PARTS), part=part)
            write_part(IN_PARTS, rows, run_of(folder, PARTS_RUN_ID), part, profile=ApiProfile())


def build_from_parts(folder: BenchFolder, watch: Stopwatch) -> None:
    """These quarters become shards, with as many rows and requests as in one task."""
    run, profile = run_of(folder, PARTS_RUN_ID), ApiProfile()
    with watch("build from parts"):
        made = build(
            IN_PARTS, lambda: read_parts(IN_PARTS, run, profile=profile), run, run_id=PARTS_RUN_ID, profile=profile
        )
    plain = read_plan(run_of(folder))
    assert plain is not None, "build comes first"
    assert (made.rows, made.requests) == (plain.rows, plain.requests)
    remove_tree(run.path)


def cache_answers(folder: BenchFolder) -> None:
    """A run that finds all rows answered, and records it."""
    _build_on_table(folder, CACHED_RUN_ID)
    run = run_of(folder, CACHED_RUN_ID)
    with psycopg.connect(os.environ["BENCH_DSN"]) as connection:
        table = sql_table(connection, "bench_engine", ON_TABLE.target_key)
        written = written_rows(run, [table], run_id=CACHED_RUN_ID)
        check_balanced(report(run, *written, answered_table=AnsweredTable(table, run, run_id=CACHED_RUN_ID)))


def scan(_folder: BenchFolder, watch: Stopwatch) -> None:
    """Rows of a table are read, and nothing else."""
    with psycopg.connect(os.environ["BENCH_DSN"]) as connection, watch("scan"):
        for _ in read_sql(connection, _ROWS).batches:
            pass


def build_changed(folder: BenchFolder, watch: Stopwatch) -> None:
    """These rows become shards of the requests that the table has not answered."""
    with watch("build changed"):
        _build_on_table(folder, CHANGED_RUN_ID)


def _build_on_table(folder: BenchFolder, run_id: str) -> None:
    dsn = os.environ["BENCH_DSN"]
    with psycopg.connect(dsn) as source, psycopg.connect(dsn) as target:
        known = [TableLookup(sql_table(target, "bench_engine", ON_TABLE.target_key), job_id=ON_TABLE.own_id)]
        rows = partial(read_sql, source, _ROWS)
        build(ON_TABLE, rows, run_of(folder, run_id), run_id=run_id, profile=ApiProfile(), target_lookups=known)


class _Fetched(GreenNodeClient):
    """A server whose batches have ended and whose results are in staging already."""

    def get_batch(self, batch_id: str) -> Batch:
        """The batch, which has ended."""
        return BATCH

    def download_results(self, batch: Batch, which: str, destination: Path, *, max_bytes: int = 0) -> int | None:
        """Every request was answered, so there is no file of errors."""
        return None


def collect(folder: BenchFolder, watch: Stopwatch) -> None:
    """The downloaded results of each shard become its results.parquet."""
    server = _Fetched(_NO_SERVER, "unused")
    for shard in _shards(folder):
        _have_fetched(shard, folder.engine_results(shard.shard_id))
        with watch("collect"):
            collect_shard(shard, server, JOB.answer)


def collect_typed(folder: BenchFolder, watch: Stopwatch) -> None:
    """The same of answers that fit a model, with a column for each of its fields."""
    server = _Fetched(_NO_SERVER, "unused")
    for shard in _shards(folder):
        _have_fetched(shard, folder.typed_results(shard.shard_id))
        with watch("collect typed"):
            collect_shard(shard, server, Section)


def _have_fetched(shard: ShardFolder, results: Path) -> None:
    """Put the server's answers into the shard's folder, as if they had not been read yet."""
    Path(str(shard.results)).unlink(missing_ok=True)
    output = Path(str(shard.output))
    output.unlink(missing_ok=True)
    os.link(results, output)
    first_receipt(shard, Receipt(shard_id=shard.shard_id, state="created", file_id="f", batch_id=BATCH.id))


def write_to_files(folder: BenchFolder, watch: Stopwatch) -> None:
    """Each shard is joined, and written into a dataset of Parquet files."""
    _join_and_write(folder, watch, Dataset(UPath(folder.engine_answers), run_of(folder)))


def write_to_table(folder: BenchFolder, watch: Stopwatch) -> None:
    """Each shard is joined, and written into a table."""
    with psycopg.connect(os.environ["BENCH_DSN"]) as connection:
        _join_and_write(folder, watch, sql_table(connection, "bench_engine", JOB.target_key))


def report_files(folder: BenchFolder, watch: Stopwatch) -> None:
    """Source, shards, results and the dataset are compared by id."""
    _report(folder, watch, Dataset(UPath(folder.engine_answers), run_of(folder)))


def report_table(folder: BenchFolder, watch: Stopwatch) -> None:
    """Source, shards, results and the table are compared by id."""
    with psycopg.connect(os.environ["BENCH_DSN"]) as connection:
        _report(folder, watch, sql_table(connection, "bench_engine", JOB.target_key))


def _report(folder: BenchFolder, watch: Stopwatch, target: OpenTarget) -> None:
    run = run_of(folder)
    with watch("report"):
        check_balanced(report(run, *written_rows(run, [target], run_id=RUN_ID)))


def _join_and_write(folder: BenchFolder, watch: Stopwatch, target: OpenTarget) -> None:
    fields = AnswerReader(JOB.answer).fields
    plan = read_plan(run_of(folder))
    assert plan is not None, "build comes first"
    for shard in _shards(folder):
        with ExitStack() as stack:
            with watch("join"):
                joined = stack.enter_context(join_shard(shard, owner=plan.owner, answer_fields=fields))
            with watch("write"):
                write_shard(shard, _WatchedRows(joined, watch), [target], key=JOB.target_key)


class _WatchedRows:
    """Joined rows; the time to join them counts separately from writing."""

    def __init__(self, joined: JoinedRows, watch: Stopwatch) -> None:
        self.schema, self.answer, self.refuse = joined.schema, joined.answer, joined.refuse
        self._joined = joined
        self._watch = watch

    def __iter__(self) -> Iterator[pa.Table]:
        """The same rows."""
        pieces = iter(self._joined)
        while True:
            with self._watch("join"):
                rows = next(pieces, None)
            if rows is None:
                return
            yield rows


def _shards(folder: BenchFolder) -> Iterator[ShardFolder]:
    plan = read_plan(run_of(folder))
    assert plan is not None, "build comes first"
    return (run_of(folder).shard(shard.shard_id) for shard in plan.shards)
