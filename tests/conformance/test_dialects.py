"""One suite for every dialect: the same table goes in, and the same table comes out.

Through the plain engine and through Airflow's hook, with the profile that is known for the dialect. What each row
must be answered with is computed from plain Jinja and the emulated model, with none of the engine's code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greennode_airflow.hooks import GreenNodeHook
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import PRESETS, ApiProfile
from greennode_batch.api.wire import BatchStatus
from greennode_batch.batches.submit import submit
from greennode_batch.errors import NotFoundError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.plan.build import build
from greennode_batch.run import run_to_file
from greennode_batch.source.files import read_files
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.run_report import RunReport
from greennode_emulator.answers import answer_for
from greennode_emulator.dialects import DIALECTS, HELD_BACK
from greennode_emulator.server import RunningEmulator, running
from greennode_emulator.settings import Settings

JOBS = Path(__file__).parents[2] / "include" / "jobs"
MODEL = "google/gemma-4-31b-it"
PARAMS = {"max_tokens": 40, "temperature": 0}
ROWS = 60

# What `greennode-batch probe` finds out about the invented dialect; the others have presets of their names.
UNKNOWN = {
    "cancel_style": "delete",
    "cancel_path": "/batches/{batch_id}",
    "delete_style": "none",
    "list_style": "page",
    "size_parameter": "size",
    "completion_window": None,
}
# Two more that no preset is made for: a profile has to do.
WRAPPED = {
    "batches_path": "/batch-jobs",
    "batch_path": "/batch-jobs/{batch_id}",
    "cancel_path": "/batch-jobs/{batch_id}/cancel",
    "input_file_field": "inputFileId",
    "endpoint": None,
    "completion_window": None,
    "list_style": "page",
    "page_parameter": "pageNum",
    "size_parameter": "pageSize",
    "status_words": {"FINALISED": "completed", "PARTIAL": "expired"},
    "batch_fields": {"error_file_id": "failureFileId", "errors": "failReason"},
}
PRESIGNED = {
    "upload_path": "/datasets",
    "files_path": "/datasets",
    "file_path": "/datasets/{file_id}",
    "content_path": "/datasets/{file_id}/download",
    "upload_style": "presigned",
    "upload_commit_path": "/datasets/{file_id}/complete",
    "upload_fields": {"name": "{filename}"},
    "purpose": None,
    "input_file_field": "dataset_id",
    "input_file_type": "integer",
    "endpoint": None,
    "completion_window": None,
    "metadata_field": "tags",
    "batch_fields": {
        "input_file_id": "dataset_id",
        "output_file_id": "result_dataset_id",
        "error_file_id": "error_dataset_id",
        "errors": "error_message",
        "metadata": "tags",
    },
    "file_fields": {"upload_url": "upload.url", "url": "download.url"},
    "result_style": "url",
    "delete_style": "delete",
}
EXTRA: dict[str, dict[str, Any]] = {name: {"profile": name} for name in PRESETS} | {
    "unknown": UNKNOWN,
    "wrapped": WRAPPED,
    "presigned": PRESIGNED,
}


@pytest.fixture(scope="module", params=sorted([*DIALECTS, *HELD_BACK]))
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, RunningEmulator]]:
    with running(Settings(dialect=request.param, batch_seconds=0.2)) as emulator:
        yield request.param, emulator


@pytest.fixture(params=["engine", "airflow"])
def client(
    request: pytest.FixtureRequest, served: tuple[str, RunningEmulator], monkeypatch: pytest.MonkeyPatch
) -> Iterator[GreenNodeClient]:
    """A client of the dialect, made from the same extra fields in both ways."""
    dialect, emulator = served
    emulator.reset()
    if request.param == "engine":
        made = GreenNodeClient(emulator.base_url, emulator.api_key, profile=ApiProfile.from_extra(EXTRA[dialect]))
    else:
        connection = {
            "conn_type": "greennode",
            "host": emulator.base_url,
            "password": emulator.api_key,
            "extra": EXTRA[dialect],
        }
        monkeypatch.setenv("AIRFLOW_CONN_GREENNODE_DEFAULT", json.dumps(connection))
        made = GreenNodeHook().get_conn()
    with made:
        yield made


@pytest.fixture(scope="module")
def tickets() -> list[dict[str, Any]]:
    with (JOBS / "support_tickets" / "tickets.jsonl").open(encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in lines.read().split("\n") if line]
    # The odd ones: neither subject nor body, quotes, U+2028, emoji, right-to-left text, Jinja in the text.
    odd = {"T-0059", "T-0206", "T-0209", "T-0225", "T-0255", "T-0264", "T-0283", "T-0298", "T-0306"}
    return [row for row in rows if row["ticket_id"] in odd] + rows[: ROWS - len(odd)]


@pytest.fixture
def job(tickets: list[dict[str, Any]], tmp_path: Path) -> BatchJob:
    pq.write_table(pa.Table.from_pylist(tickets), tmp_path / "tickets.parquet")
    return BatchJob(
        name="tickets",
        source=FileSource(path=str(tmp_path / "tickets.parquet")),
        key="ticket_id",
        carry=("category",),
        model=MODEL,
        prompt="support_tickets/prompt.md",
        params=PARAMS,
        target=FileTarget(path=str(tmp_path / "answers.parquet")),
    )


def run(job: BatchJob, client: GreenNodeClient, folder: Path) -> RunReport:
    return run_to_file(
        job,
        lambda: read_files(folder / "tickets.parquet"),
        client,
        run_folder(folder / "staging", job.name, "run_1"),
        folder / "answers.parquet",
        run_id="run_1",
        sleep=lambda _seconds: None,
    )


def expected(ticket: dict[str, Any]) -> str:
    template = jinja2.Environment().from_string((JOBS / "support_tickets" / "prompt.md").read_text())
    text = template.render({name: "" if value is None else value for name, value in ticket.items()})
    return answer_for({"model": MODEL, "messages": [{"role": "user", "content": text}], **PARAMS}).content


def test_the_same_table_comes_out(
    served: tuple[str, RunningEmulator],
    client: GreenNodeClient,
    job: BatchJob,
    tickets: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    report = run(job, client, tmp_path)
    assert report.rows == len(tickets) == ROWS
    answers = {row["ticket_id"]: row for row in pq.read_table(tmp_path / "answers.parquet").to_pylist()}
    for ticket in tickets:
        row = answers[ticket["ticket_id"]]
        assert row["status"] == ("truncated" if row["finish_reason"] == "length" else "succeeded"), row
        assert row["answer"] == expected(ticket), ticket["ticket_id"]
        assert row["category"] == ticket["category"]
        assert row["prompt_tokens"] > 0
        assert row["completion_tokens"] > 0
        assert row["completed_at"] is not None
    ledger = served[1].ledger()
    assert set(ledger["requests"].values()) == {1}
    assert ledger["batches_created"] == 1


def test_a_create_that_was_accepted_and_dropped_is_found_again(
    served: tuple[str, RunningEmulator], client: GreenNodeClient, job: BatchJob, tmp_path: Path
) -> None:
    served[1].faults([{"endpoint": "POST /batches", "kind": "reset_after", "count": 1}])
    run(job, client, tmp_path)
    ledger = served[1].ledger()
    assert ledger["batches_created"] == 1
    assert set(ledger["requests"].values()) == {1}


def test_a_batch_can_be_cancelled_while_it_runs(
    served: tuple[str, RunningEmulator], client: GreenNodeClient, job: BatchJob, tmp_path: Path
) -> None:
    served[1].faults([{"kind": "stuck", "status": "in_progress"}])
    folder = run_folder(tmp_path / "staging", job.name, "run_1")
    (shard,) = build(
        job, lambda: read_files(tmp_path / "tickets.parquet"), folder, run_id="run_1", profile=client.profile
    ).shards
    batch_id = submit(folder.shard(shard.shard_id), client).batch_id
    assert batch_id is not None
    client.cancel_batch(batch_id)
    while (status := client.get_batch(batch_id).status) is not BatchStatus.CANCELLED:
        assert not status.is_terminal


def test_a_finished_batch_and_its_files_can_be_removed_where_the_api_has_that(
    client: GreenNodeClient, job: BatchJob, tmp_path: Path
) -> None:
    run(job, client, tmp_path)
    receipt_file = max(tmp_path.glob("staging/**/receipt.*.json"))
    receipt = json.loads(receipt_file.read_bytes())
    client.delete_file(receipt["file_id"])
    client.delete_file(receipt["file_id"])
    if client.profile.delete_style == "none":
        return
    client.delete_batch(receipt["batch_id"])
    client.delete_batch(receipt["batch_id"])
    with pytest.raises(NotFoundError):
        client.get_batch(receipt["batch_id"])
