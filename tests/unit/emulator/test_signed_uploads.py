"""Uploads in steps, on a dialect that has them, and on OpenAI's with a URL at the same origin and no third step."""

from dataclasses import replace

import httpx
import pytest

from greennode_emulator.dialects import DIALECTS, OPENAI
from greennode_emulator.dialects.dialect import SignedUpload
from greennode_emulator.server import running
from greennode_emulator.settings import Limits, Settings

LIMITS = Limits(max_file_bytes=1000)


def client(server):
    return httpx.Client(
        base_url=server.base_url, headers={"authorization": f"Bearer {server.api_key}"}, trust_env=False, timeout=60
    )


@pytest.fixture(scope="module")
def served():
    with running(Settings(dialect="presigned", batch_seconds=0.05, limits=LIMITS)) as server:
        yield server


@pytest.fixture
def server(served):
    served.reset()
    return served


@pytest.fixture
def http(server):
    with client(server) as http:
        yield http


def begin(http):
    reply = http.post("/datasets", json={"name": "lines.jsonl"})
    assert reply.status_code == 201
    return reply.json()["dataset"], reply.json()["upload"]["url"]


def put(url, content, **headers):
    return httpx.put(url, content=content, headers=headers, trust_env=False)


def test_a_file_arrives_in_three_steps(server, http, body, jsonl, until):
    content = jsonl({"a": body()})
    file, url = begin(http)
    assert (type(file["id"]), file["size"], file["state"]) == (int, 0, "awaiting_upload")
    assert not url.startswith(server.root_url)
    path = f"/datasets/{file['id']}"
    assert http.get(f"{path}/download").status_code == 200
    assert http.post(f"{path}/complete").status_code == 409
    refused = http.post("/batches", json={"dataset_id": file["id"]})
    assert (refused.status_code, "awaiting_upload" in refused.text) == (400, True)
    assert put(url, content).status_code == 200
    assert http.get(path).json()["dataset"] | {"created_at": 0} == {
        "id": file["id"],
        "name": "lines.jsonl",
        "size": len(content),
        "state": "uploaded",
        "created_at": 0,
    }
    assert http.post("/batches", json={"dataset_id": file["id"]}).status_code == 400
    assert [http.post(f"{path}/complete").json()["dataset"]["state"] for _ in range(2)] == ["processed"] * 2
    batch = http.post("/batches", json={"dataset_id": file["id"], "tags": {"mark": "ours"}}).json()
    assert batch["dataset_id"] == file["id"]
    until(lambda: http.get(f"/batches/{batch['id']}").json()["state"] == "succeeded")
    batch = http.get(f"/batches/{batch['id']}").json()
    result = http.get(f"/datasets/{batch['result_dataset_id']}/download").json()["download"]["url"]
    assert not result.startswith(server.root_url)
    assert b'"custom_id":"a"' in httpx.get(result, trust_env=False).content
    assert server.ledger()["files_uploaded"] == 1


def test_the_bytes_can_be_put_again_and_a_batch_keeps_those_it_began_with(server, http, body, jsonl, until):
    file, url = begin(http)
    for content in (b"wrong", jsonl({"a": body()})):
        assert put(url, content).is_success
    http.post(f"/datasets/{file['id']}/complete")
    batch = http.post("/batches", json={"dataset_id": file["id"]}).json()
    assert put(url, b"wrong").is_success
    until(lambda: http.get(f"/batches/{batch['id']}").json()["state"] == "succeeded")
    ledger = server.ledger()
    assert (ledger["requests"], ledger["files_uploaded"]) == ({"a": 1}, 1)


def test_the_store_wants_the_signature_and_not_the_key(server, http):
    _, url = begin(http)
    assert put(url.partition("?")[0], b"x").status_code == 403
    assert put(url, b"x", authorization=f"Bearer {server.api_key}").status_code == 400
    assert put(url.replace("/_storage/", "/_storage/1"), b"x").status_code == 404


def test_too_large_a_file_is_refused_where_its_bytes_arrive(server, http):
    file, url = begin(http)
    assert put(url, b"x" * 1001).status_code == 413
    assert http.get(f"/datasets/{file['id']}").json()["dataset"]["state"] == "awaiting_upload"
    server.faults([{"kind": "too_large", "max_bytes": 10}])
    assert put(url, b"x" * 11).status_code == 413
    server.disarm()
    assert put(url, b"x" * 11).status_code == 200


@pytest.mark.parametrize("body", [{}, {"filename": "x"}, {"name": 3}, ["x"]])
def test_a_first_call_without_the_name_is_refused(http, body):
    assert http.post("/datasets", json=body).status_code == 400


def test_faults_strike_each_step(server, http):
    server.faults([{"kind": "reset_after", "endpoint": "PUT /_storage/{id}"}])
    file, url = begin(http)
    with pytest.raises(httpx.TransportError):
        put(url, b"x")
    assert http.get(f"/datasets/{file['id']}").json()["dataset"]["state"] == "uploaded"
    server.faults([{"kind": "status", "endpoint": "POST /files/{id}/complete"}])
    assert [http.post(f"/datasets/{file['id']}/complete").status_code for _ in range(2)] == [503, 200]
    assert server.ledger()["calls"]["PUT /_storage/{id}"] == 1


def test_the_url_can_be_of_the_same_origin_and_the_put_the_last_step(monkeypatch, body, jsonl):
    dialect = replace(OPENAI, name="two steps", signed_upload=SignedUpload(elsewhere=False))
    monkeypatch.setitem(DIALECTS, "two steps", dialect)
    with running(Settings(dialect="two steps", batch_seconds=0.05)) as server, client(server) as http:
        assert http.post("/files", files={"file": ("x", b"x")}, data={"purpose": "batch"}).status_code == 400
        assert http.post("/files", json={"filename": "x", "purpose": "wrong"}).status_code == 400
        file = http.post("/files", json={"filename": "x", "purpose": "batch"}).json()
        assert file["upload_url"].startswith(server.root_url)
        assert http.get(f"/files/{file['id']}/content").status_code == 409
        assert http.put(file["upload_url"], content=jsonl({"a": body()})).status_code == 200
        assert http.get(f"/files/{file['id']}").json()["status"] == "processed"
