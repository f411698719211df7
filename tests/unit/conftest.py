"""Jobs, runs and clients for the tests of the engine."""

import time
from collections.abc import Iterator

import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.submit import submit
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.plan.build import build
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder

MODEL = "google/gemma-4-31b-it"


def _job(**changes):
    defaults = {
        "name": "job",
        "source": FileSource(path="rows.parquet"),
        "target": FileTarget(path="answers.parquet"),
        "key": "id",
        "model": MODEL,
        "prompt": "{{ text }}",
    }
    return BatchJob(**{**defaults, **changes})


class Clock:
    """A clock that moves only when somebody sleeps on it."""

    def __init__(self):
        self.now = time.time()
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_job():
    return _job


@pytest.fixture
def make_run(tmp_path):
    """Builds a run of a job over the given rows: (columns, rows, **job) -> (run, plan)."""
    count = iter(range(1000))

    def make(columns, rows, *, profile=None, **job):
        run = run_folder(tmp_path / "staging", "job", f"run {next(count)}")

        def source():
            return Rows.from_tuples(tuple(columns), iter([list(rows)] if rows else []))

        return run, build(_job(**job), source, run, run_id="run_1", profile=profile or ApiProfile())

    return make


@pytest.fixture
def make_shard(make_run):
    """A shard that was built from some texts."""

    def make(*texts, **job):
        run, plan = make_run(("id", "text"), list(enumerate(texts or ("hello", "world"), start=1)), **job)
        return run.shard(plan.shards[0].shard_id)

    return make


@pytest.fixture
def client(emulator) -> Iterator[GreenNodeClient]:
    with GreenNodeClient(emulator.base_url, emulator.api_key, sleep=lambda _: None) as made:
        yield made


@pytest.fixture
def ended(client):
    """Submits a shard and waits for the end of its batch."""

    def wait(shard):
        receipt = submit(shard, client)
        while not (batch := client.get_batch(receipt.batch_id)).status.is_terminal:
            pass
        return batch

    return wait


@pytest.fixture
def quick_polls(monkeypatch):
    """The shortest pause between two looks at a batch, for tests that run the command line."""
    monkeypatch.setattr("greennode_batch.api.polling.polling.MIN_POLL_SECONDS", 0.01)
