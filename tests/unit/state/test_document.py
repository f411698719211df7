"""Documents of staging: those of the release before go on, and those of a release to come are refused."""

import json
import shutil
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.columns import OWNER_COLUMNS
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.monitor.staged_run import StagedRuns
from greennode_batch.run import run_to_file
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import read_receipt
from greennode_batch.state.run_identity import identity_of, note_run

BEFORE = Path(__file__).parent / "of_release_0_1"
JOB = BatchJob(
    name="job",
    source=FileSource(path="rows.parquet"),
    target=FileTarget(path="answers.parquet"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{ text }}",
    max_shard_requests=2,
    max_failed_ratio=1.0,
)


def no_rows():
    raise AssertionError("the run is built already")


@pytest.fixture
def before(tmp_path):
    """Opens a copy of a run that the release before has left in staging."""
    shutil.copytree(BEFORE, tmp_path / "staging")

    def run(run_id):
        folder = run_folder(UPath(tmp_path / "staging"), "job", run_id)
        assert identity_of(folder).run_id == run_id
        return folder

    return run


@pytest.fixture
def go_on(client, tmp_path):
    """Starts a run again with the code of today; its rows in the target."""

    def start(run):
        out = tmp_path / "answers.parquet"
        made = run_to_file(JOB, no_rows, client, run, out, run_id=read_plan(run).run_id, sleep=lambda _: None)
        assert made.balanced
        return pq.read_table(out).to_pylist()

    return start


def test_a_run_whose_batches_wait_goes_on_after_an_upgrade_and_pays_nothing_twice(before, go_on, client, emulator):
    run = before("waiting")
    for planned in read_plan(run).shards:
        shard = run.shard(planned.shard_id)
        old = read_receipt(shard)
        uploaded = client.upload_file(Path(shard.requests.path), filename=f"{shard.shard_id}.jsonl")
        batch = client.create_batch(uploaded.id, metadata={}, model=JOB.model)
        text = shard.receipt.read_text()
        for then, now in (
            (old.file_id, uploaded.id),
            (old.batch_id, batch.id),
            (str(old.created_at), str(time.time())),
        ):
            assert then in text
            text = text.replace(then, now)
        shard.receipt.write_text(text)
    rows = go_on(run)
    assert sorted((row["id"], row["status"]) for row in rows) == [
        (0, "succeeded"),
        (1, "succeeded"),
        (2, "succeeded"),
        (3, "unsent"),
        (4, "succeeded"),
    ]
    ledger = emulator.ledger()
    assert (ledger["batches_created"], ledger["requests_billed"]) == (2, 3)


def test_a_finished_run_of_the_release_before_is_joined_and_reported_again(before, go_on, emulator):
    calls = emulator.ledger()["calls"]
    rows = go_on(before("finished"))
    assert emulator.ledger()["calls"] == calls
    own = dict.fromkeys(OWNER_COLUMNS)
    written = pq.read_table(BEFORE / "answers.parquet").to_pylist()
    assert [row | own for row in rows] == [row | own for row in written]


def test_the_page_shows_what_a_run_of_the_release_before_has_used(before):
    staged = StagedRuns().read(before("finished"))
    assert [shard.actual_cost.requests for shard in staged.shards] == [2, 1]


def test_every_json_document_that_a_run_leaves_has_the_number_of_its_format(client, tmp_path):
    run = run_folder(UPath(tmp_path / "staging"), "job", "run")
    note_run(run, dag_id="job", run_id="run")
    rows = Rows.from_tuples(("id", "text"), iter([[(1, "one"), (2, ""), (3, "two")]]))
    run_to_file(JOB, lambda: rows, client, run, tmp_path / "answers.parquet", run_id="run", sleep=lambda _: None)
    documents = {path.name: json.loads(path.read_text()) for path in (tmp_path / "staging").rglob("*.json")}
    assert {
        "plan.1.json",
        "building.1.json",
        "receipt.1.json",
        "creating.1.json",
        "canary.json",
        "spend.json",
        ".usage.json",
    } <= set(documents)
    assert {name for name, document in documents.items() if document.get("format") != 1} == set()


def test_a_document_of_a_newer_format_is_refused_with_a_sentence_that_says_what_to_do(before):
    run = before("waiting")
    run.plan.write_text(json.dumps({**json.loads(run.plan.read_text()), "format": 2}))
    with pytest.raises(
        ConfigError,
        match=r"plan\.json: has format 2, but this version reads format 1: a newer version wrote it\. "
        r"Let that version finish the run, or start a new run",
    ):
        read_plan(run)
