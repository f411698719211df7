"""Our client and our whole engine against servers that others wrote."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.results.result_lines import ResultLine, iter_lines, parse_line
from greennode_batch.api.wire import BatchStatus
from greennode_batch.errors import AuthError, NotFoundError
from greennode_batch.probe.probe_run import Probe

pytestmark = pytest.mark.witness

ROWS = 50
ODD = (
    "plain",
    "«Khách hàng» 😀",
    'quotes " and \\ and {{ braces }}',
    "U+2028 \u2028, U+2029 \u2029, U+0085 \u0085",
    "tab\tend",
)


def prompt_of(row: int) -> str:
    return f"Row {row}: {ODD[row % len(ODD)]}"


def line(witness, custom_id: str, **params) -> dict:
    messages = [{"role": "user", "content": f"about {custom_id}"}]
    body = {"model": witness.model, "messages": messages, "temperature": 0, **params}
    fields = {"custom_id": custom_id, "body": body}
    if ApiProfile.from_extra(witness.extra).line_format == "custom_id+body":
        return fields
    return fields | {"method": "POST", "url": "/v1/chat/completions"}


def upload(client, tmp_path: Path, lines: list[dict]) -> str:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    file = client.upload_file(path)
    assert file.bytes == path.stat().st_size
    return file.id


def ended(client, batch_id: str):
    deadline = time.monotonic() + 30
    while not (batch := client.get_batch(batch_id)).status.is_terminal:
        assert batch.status is not BatchStatus.UNKNOWN, batch
        assert time.monotonic() < deadline, batch
        time.sleep(0.1)
    return batch


def results(client, batch, which, tmp_path: Path) -> dict[str, ResultLine]:
    path = tmp_path / f"{which}.jsonl"
    if client.download_results(batch, which, path) is None:
        return {}
    with path.open("rb") as file:
        parsed = [parse_line(raw) for raw in iter_lines(file)]
    return {result.custom_id: result for result in parsed}


def run_engine(
    witness,
    folder: Path,
    *,
    max_failed_ratio: float = 0.0,
    options: Sequence[str] = (),
    params: Mapping[str, Any] = MappingProxyType({"temperature": 0}),
    **extra,
) -> tuple[list[dict], str]:
    """The rows that `greennode-batch run` makes of a table of 50 rows, and its log. options: more of the command's."""
    folder.mkdir(exist_ok=True)
    rows = [{"id": f"k{row}", "text": prompt_of(row)} for row in range(ROWS)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    (folder / "prompt.md").write_text("{{ text }}")
    (folder / "profile.json").write_text(json.dumps({**witness.extra, **extra}))
    command = [
        sys.executable,
        "-m",
        "greennode_batch.cli",
        "run",
        "--in",
        "rows.parquet",
        "--key",
        "id",
        "--prompt",
        "prompt.md",
    ]
    command += [
        "--model",
        witness.model,
        "--params",
        json.dumps(dict(params)),
        "--out",
        "out.parquet",
        "--staging",
        "staging",
    ]
    command += [
        "--base-url",
        witness.base_url,
        "--profile",
        "profile.json",
        "--max-failed-ratio",
        str(max_failed_ratio),
        *options,
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "GREENNODE_API_KEY": witness.api_key},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    assert witness.api_key == "any" or witness.api_key not in log
    return pq.read_table(folder / "out.parquet").to_pylist(), log


def test_a_batch_goes_from_upload_to_results_with_every_answer_at_its_own_id(witness, tmp_path):
    with witness.client() as client:
        assert witness.model in [model.id for model in client.list_models()]
        file_id = upload(client, tmp_path, [line(witness, f"id{n}") for n in range(5)])
        assert client.get_file(file_id).id == file_id
        created = client.create_batch(file_id, metadata={"job": "witness"}, model=witness.model)
        assert created.input_file_id == file_id
        assert created.metadata == {"job": "witness"}
        batch = ended(client, created.id)
        assert batch.status is BatchStatus.COMPLETED
        assert (batch.counts.total, batch.counts.completed, batch.counts.failed) == (5, 5, 0)
        assert batch.completed_at is not None
        answers = results(client, batch, "output", tmp_path)
        assert {one: answer.content for one, answer in answers.items()} == {
            f"id{n}": witness.answer(f"about id{n}") for n in range(5)
        }
        assert all(answer.error is None and answer.completion_tokens > 0 for answer in answers.values())
        assert results(client, batch, "error", tmp_path) == {}
        assert client.cancel_batch(batch.id) is None


def test_batches_and_files_are_listed_page_by_page(witness, tmp_path):
    with witness.client() as client:
        file_id = upload(client, tmp_path, [line(witness, "a")])
        ids = {client.create_batch(file_id, model=witness.model).id for _ in range(5)}
        listed = [batch.id for batch in client.list_batches(limit=2)]
        assert ids <= set(listed)
        assert len(set(listed)) == len(listed)
        if witness.lists_files:
            assert file_id in [file.id for file in client.list_files(limit=2)]


def test_a_batch_that_is_cancelled_ends_as_cancelled(witness, tmp_path):
    with witness.client() as client:
        file_id = upload(client, tmp_path, [line(witness, f"id{n}") for n in range(200)])
        created = client.create_batch(file_id, model=witness.model)
        requested = client.cancel_batch(created.id)
        assert requested is not None
        assert requested.status in {BatchStatus.CANCELLING, BatchStatus.CANCELLED}
        assert ended(client, created.id).status is BatchStatus.CANCELLED


def test_what_is_not_there_is_not_found(witness):
    with witness.client() as client:
        with pytest.raises(NotFoundError):
            client.get_batch("batch_0123456789abcdef")
        with pytest.raises(NotFoundError):
            client.get_file("file-0123456789abcdef")


def test_the_engine_brings_back_every_row_with_its_own_answer_and_pays_once(witness, tmp_path):
    with witness.client() as client:
        before = {batch.id for batch in client.list_batches()}
        rows, _ = run_engine(witness, tmp_path / "job")
        assert {row["id"]: row["answer"] for row in rows} == {
            f"k{row}": witness.answer(prompt_of(row)) for row in range(ROWS)
        }
        assert {row["status"] for row in rows} == {"succeeded"}
        assert all(row["prompt_tokens"] > 0 and row["completion_tokens"] > 0 for row in rows)
        made = {batch.id for batch in client.list_batches()} - before
        assert made == {row["batch_id"] for row in rows}
        assert len(made) == 1
        again, _ = run_engine(witness, tmp_path / "job")
        assert again == rows
        assert {batch.id for batch in client.list_batches()} - before == made


def test_the_profile_that_the_probe_prints_brings_back_every_row_and_pays_once(witness, tmp_path):
    folder = UPath(tmp_path / "probe")
    base = ApiProfile.from_extra({"extra_headers": witness.extra.get("extra_headers", {})})
    outcome = Probe(witness.base_url, witness.api_key, folder, model=witness.model, profile=base, wait_seconds=60).run()
    assert outcome.confirms_profile, outcome.text
    with witness.client() as client:
        before = {batch.id for batch in client.list_batches()}
        rows, _ = run_engine(dataclasses.replace(witness, extra=outcome.found.extra), tmp_path / "job")
        assert {row["id"]: row["answer"] for row in rows} == {
            f"k{row}": witness.answer(prompt_of(row)) for row in range(ROWS)
        }
        assert len({batch.id for batch in client.list_batches()} - before) == 1


def test_ogx_and_aimock_refuse_a_wrong_key(ogx, aimock):
    for server in (ogx, aimock):
        with server.client(key="wrong-key") as client, pytest.raises(AuthError) as caught:
            list(client.list_batches())
        assert "wrong-key" not in str(caught.value)


def test_ogx_lines_that_failed_are_in_its_error_file_and_read_as_failures(ogx, tmp_path):
    with ogx.client() as client:
        file_id = upload(client, tmp_path, [line(ogx, "good"), line(ogx, "bad", temperature=99)])
        batch = ended(client, client.create_batch(file_id).id)
        assert batch.status is BatchStatus.COMPLETED
        assert results(client, batch, "output", tmp_path).keys() == {"good"}
        (bad,) = results(client, batch, "error", tmp_path).values()
        assert bad.custom_id == "bad"
        assert bad.code == "request_failed"
        assert "temperature" in bad.error


def test_ogx_says_in_a_batch_why_it_failed_as_a_whole(ogx, tmp_path):
    with ogx.client() as client:
        file_id = upload(client, tmp_path, [{"custom_id": "a", "body": line(ogx, "a")["body"]}])
        batch = ended(client, client.create_batch(file_id).id)
        assert batch.status is BatchStatus.FAILED
        assert "method" in " ".join(batch.errors).lower()
        missing = ended(client, client.create_batch("file-0123456789abcdef").id)
        assert missing.status is BatchStatus.FAILED
        assert "Cannot find file" in missing.errors[0]


def test_a_file_of_ogx_that_is_deleted_twice_is_gone_and_no_error(ogx, tmp_path):
    with ogx.client() as client:
        file_id = upload(client, tmp_path, [line(ogx, "a")])
        client.delete_file(file_id)
        client.delete_file(file_id)
        with pytest.raises(NotFoundError):
            client.get_file(file_id)


@pytest.mark.parametrize(
    ("outcome", "status", "error"),
    [
        ("failed", "failed", "mock_failure"),
        ("expired", "expired", "expired"),
        ("cancelled", "cancelled", "cancelled"),
    ],
)
def test_aimock_batches_that_end_badly_leave_every_row_accounted_for(aimock, tmp_path, outcome, status, error):
    rows, _ = run_engine(aimock, tmp_path, max_failed_ratio=1.0, extra_headers={"X-AIMock-Batch-Outcome": outcome})
    assert len(rows) == ROWS
    assert {row["status"] for row in rows} == {status}
    assert all(error in row["error"] for row in rows)


def test_llmock_finds_no_fault_with_how_the_client_retries(llmock, tmp_path):
    faults = [
        {"type": "fail", "status": 429, "retry_after": 1.2, "times": 2, "match": {"path": "/v1/models"}},
        {"type": "fail", "status": 503, "times": 1, "match": {"path": "/v1/batches/*"}},
        {"type": "fail", "status": 500, "times": 1, "match": {"path": "/v1/files/*/content"}},
        {"type": "fail", "status": 429, "retry_after": 0.5, "times": 1, "match": {"path": "/v1/files"}},
    ]
    httpx.post(f"{llmock.root_url}/_llmock/reset").raise_for_status()
    httpx.post(f"{llmock.root_url}/_llmock/scenario", json={"behaviors": faults}).raise_for_status()
    rows, _ = run_engine(llmock, tmp_path)
    assert [row["status"] for row in rows] == ["succeeded"] * ROWS
    assert httpx.get(f"{llmock.root_url}/_llmock/scenario").json() == {"pending": []}
    verdict = httpx.get(f"{llmock.root_url}/_llmock/verdict").json()
    assert verdict["faults_injected"] == 5
    assert (verdict["errors"], verdict["warnings"]) == (0, 0), verdict["findings"]


def test_live_mode_brings_back_every_row_with_its_own_answer_and_no_batch(witness, tmp_path):
    rows, log = run_engine(witness, tmp_path, options=("--live", "--canary", "0", "--max-concurrency", "8"))
    assert len(rows) == ROWS
    assert {row["batch_id"] for row in rows} == {"live"}
    for row in rows:
        assert row["answer"] == witness.answer(prompt_of(int(row["id"][1:])))
    assert f"{ROWS} requests were answered live" in log
    # What a live answer costs is what the server has counted.
    assert all(row["prompt_tokens"] and row["completion_tokens"] for row in rows)


def test_a_real_model_answers_live_what_a_server_without_batches_is_asked(dasllama, tmp_path):
    limits = ("--live", "--limit", "4", "--canary", "0", "--max-concurrency", "2")
    rows, log = run_engine(
        dasllama, tmp_path, options=limits, params={"max_tokens": 8, "temperature": 0}, max_failed_ratio=1.0
    )
    assert "4 requests were answered live" in log
    assert len(rows) == 4
    for row in rows:
        assert row["status"] in {"succeeded", "truncated"}
        assert row["answer"]
        assert row["prompt_tokens"] > 0
        assert 0 < row["completion_tokens"] <= 8
