import dataclasses
import time

import msgspec
import pytest

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import Wait
from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.submit import submit
from greennode_batch.batches.wait import poll
from greennode_batch.collect.collect import collect_shard
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.monitor.staged_run import StagedRuns
from greennode_batch.plan.build import build
from greennode_batch.reconcile.report import report
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.receipts import read_receipt, write_receipt
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.state.run_identity import note_run
from greennode_batch.write.join import join_shard
from greennode_batch.write.joined_rows import CountedRows, note_joined

MODEL = "google/gemma-4-31b-it"
JOB = BatchJob(
    name="tickets",
    source=FileSource(path="rows.parquet"),
    target=FileTarget(path="answers.parquet"),
    key="ticket",
    model=MODEL,
    prompt="{{ text }}",
)


class Scene:
    """A run, its plan, and what can be done to it."""

    def __init__(self, run, plan, client, job):
        self.run, self.plan, self.client, self.job = run, plan, client, job

    @property
    def shards(self):
        return [self.run.shard(shard.shard_id) for shard in self.plan.shards]

    def staged(self):
        return StagedRuns().read(self.run)

    def submit(self, *, age=0.0):
        """Create the batches, as long ago as that."""
        for shard in self.shards:
            receipt = submit(shard, self.client)
            write_receipt(shard, msgspec.structs.replace(receipt, created_at=receipt.created_at - age))

    def collect(self, *shards):
        for shard in shards or self.shards:
            while isinstance(poll(shard, self.client, now=time.time()), Wait):
                pass
            collect_shard(shard, self.client, self.job.answer)

    def account(self):
        """Join all rows and make the report, as the run's last tasks do."""
        for shard in self.shards:
            with join_shard(shard, owner=RowOwner("run_1"), answer_fields=AnswerReader(self.job.answer).fields) as rows:
                joined = CountedRows(rows, self.plan.target_key)
                for _ in joined:
                    pass
                note_joined(shard, joined)
        return report(self.run, prices=self.plan.prices)

    def change(self, shard, **fields):
        write_receipt(shard, msgspec.structs.replace(read_receipt(shard), **fields))


@pytest.fixture
def client(emulator):
    with GreenNodeClient(emulator.base_url, emulator.api_key) as client:
        yield client


@pytest.fixture
def make_scene(tmp_path, client):
    """Builds a run of some rows (key, text), so many requests a shard."""

    def make(rows, *, per_shard=10, **job):
        run = run_folder(tmp_path / "staging", "tickets", "run_1")
        note_run(run, dag_id="tickets", run_id="run_1", conn_id="my_connection")
        profile = ApiProfile(max_requests=per_shard)

        def source():
            return Rows.from_tuples(("ticket", "text"), iter([list(rows)]))

        declared = dataclasses.replace(JOB, **job)
        return Scene(run, build(declared, source, run, run_id="run_1", profile=profile), client, declared)

    return make
