"""Each dialect from upload to results with plain HTTP, as its source describes it."""

import datetime as dt
import json
import uuid

import httpx
import pytest

from greennode_emulator.answers import answer_for
from greennode_emulator.dialects import DIALECTS, HELD_BACK
from greennode_emulator.records import Phase
from greennode_emulator.server import running
from greennode_emulator.settings import DEFAULT_MODELS, Settings

CHAT = "/v1/chat/completions"
CREATE = {"endpoint": CHAT}


@pytest.fixture
def bodies(body):
    return {"a": body("a"), "b": body("b"), "hot": body(temperature=3)}


def lines_of(bodies, **more):
    return b"".join(
        json.dumps({"custom_id": name, **more, "body": one}).encode() + b"\n" for name, one in bodies.items()
    )


def bare(bodies):
    return lines_of(bodies)


def full(bodies):
    return lines_of(bodies, method="POST", url=CHAT)


def upload(http, content, path="/files", purpose="batch"):
    return http.post(path, files={"file": ("in.jsonl", content)}, data={"purpose": purpose})


@pytest.fixture
def wait(until):
    """The last look at a batch, and all the words seen."""

    def last_look(http, path, field, words, read=httpx.Response.json):
        seen = []

        def ready():
            batch = read(http.get(path))
            if batch[field] not in seen:
                seen.append(batch[field])
            return batch if batch[field] in words else None

        return until(ready), seen

    return last_look


def read(reply):
    assert reply.status_code == 200
    return {line["custom_id"]: line for line in map(json.loads, reply.text.strip().split("\n"))}


def contents(lines):
    return {name: line["response"]["body"]["choices"][0]["message"]["content"] for name, line in lines.items()}


def answers(bodies):
    return {name: answer_for(bodies[name]).content for name in ("a", "b")}


def is_iso(text):
    return dt.datetime.fromisoformat(text).tzinfo is not None


def test_openai(speak, wait, bodies):
    http, _ = speak("openai")
    file_id = upload(http, bare(bodies)).json()["id"]
    created = http.post("/batches", json=CREATE | {"input_file_id": file_id, "completion_window": "24h"}).json()
    assert created["status"] == "validating"
    batch, _ = wait(http, f"/batches/{created['id']}", "status", {"completed"})
    assert contents(read(http.get(f"/files/{batch['output_file_id']}/content"))) == answers(bodies)
    assert read(http.get(f"/files/{batch['error_file_id']}/content"))["hot"]["response"]["status_code"] == 400
    assert [http.delete(f"/batches/{batch['id']}").status_code for _ in range(2)] == [200, 404]


def test_together(speak, wait, bodies):
    http, _ = speak("together")
    assert upload(http, bare(bodies)).status_code == 405
    assert upload(http, bare(bodies), path="/files/upload").status_code == 400
    file_id = upload(http, bare(bodies), path="/files/upload", purpose="batch-api").json()["id"]
    reply = http.post("/batches", json=CREATE | {"input_file_id": file_id})
    assert reply.status_code == 201
    created = reply.json()["job"]
    assert str(uuid.UUID(created["id"])) == created["id"]
    assert is_iso(created["created_at"])
    assert "output_file_id" not in created
    batch, seen = wait(http, f"/batches/{created['id']}", "status", {"COMPLETED"})
    assert set(seen) <= {"VALIDATING", "IN_PROGRESS", "COMPLETED"}
    assert is_iso(batch["completed_at"])
    assert (batch["progress"], batch["model_id"]) == (100, bodies["a"]["model"])
    assert contents(read(http.get(f"/files/{batch['output_file_id']}/content"))) == answers(bodies)
    (refused,) = read(http.get(f"/files/{batch['error_file_id']}/content")).values()
    assert set(refused) == {"custom_id", "error"}
    assert [one["id"] for one in http.get("/batches", params={"limit": 0}).json()] == [batch["id"]]
    assert isinstance(http.get("/models").json(), list)
    assert http.delete(f"/batches/{batch['id']}").status_code == 405
    assert http.post(f"/batches/{batch['id']}/cancel").status_code == 409


def test_novita(speak, wait, bodies):
    http, server = speak("novita")
    assert server.base_url.endswith("/openai/v1")
    file_id = upload(http, bare(bodies)).json()["id"]
    created = http.post("/batches", json=CREATE | {"input_file_id": file_id}).json()
    assert (created["output_file_id"], created["error_file_id"], created["errors"]) == ("", "", "")
    batch, seen = wait(http, f"/batches/{created['id']}", "status", {"COMPLETED"})
    assert set(seen) <= {"VALIDATING", "PROGRESS", "COMPLETED"}
    assert (batch["total"], batch["completed"], batch["failed"]) == (3, 2, 1)
    assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert is_iso(batch["completed_at"])
    assert contents(read(http.get(f"/files/{batch['output_file_id']}/content"))) == answers(bodies)
    assert isinstance(read(http.get(f"/files/{batch['error_file_id']}/content"))["hot"]["error"], str)
    assert [one["id"] for one in http.get("/batches").json()["data"]] == [batch["id"]]
    missing = http.get("/batches/none")
    assert (missing.status_code, missing.json()["code"]) == (404, 404)


def test_mistral(speak, wait, bodies):
    http, server = speak("mistral")
    nameless = {name: {key: value for key, value in one.items() if key != "model"} for name, one in bodies.items()}
    file_id = upload(http, bare(nameless)).json()["id"]
    wish = CREATE | {"input_files": [file_id], "model": bodies["a"]["model"], "timeout_hours": 24}
    created = http.post("/batch/jobs", json=wish | {"metadata": {"run": 1}}).json()
    assert (created["status"], created["input_files"], created["metadata"]) == ("QUEUED", [file_id], {"run": 1})
    batch, seen = wait(http, f"/batch/jobs/{created['id']}", "status", {"SUCCESS"})
    assert set(seen) <= {"QUEUED", "RUNNING", "SUCCESS"}
    counts = {name: batch[f"{name}_requests"] for name in ("total", "completed", "succeeded", "failed")}
    assert counts == {"total": 3, "completed": 3, "succeeded": 2, "failed": 1}
    assert contents(read(http.get(f"/files/{batch['output_file']}/content"))) == answers(bodies)
    refused = read(http.get(f"/files/{batch['error_file']}/content"))["hot"]
    assert (refused["response"], type(refused["error"])) == (None, dict)
    ids = [http.post("/batch/jobs", json=wish).json()["id"] for _ in range(3)]
    pages = [http.get("/batch/jobs", params={"page": page, "page_size": 3}).json() for page in (0, 1, 2)]
    assert [[one["id"] for one in page["data"]] for page in pages] == [ids[::-1], [batch["id"]], []]
    assert {page["total"] for page in pages} == {4}
    assert [http.delete(f"/batch/jobs/{batch['id']}").status_code for _ in range(2)] == [200, 410]
    bad = http.post("/batch/jobs", json=wish | {"input_files": []})
    assert (bad.status_code, bad.json()["detail"][0]["loc"]) == (422, ["body", "input_files"])
    url = http.get(f"/files/{batch['output_file']}/url").json()["url"]
    assert not url.startswith(server.root_url)


def test_siliconflow(speak, wait, bodies):
    http, _ = speak("siliconflow")
    file = upload(http, full(bodies)).json()
    assert (file["code"], file["status"], "createdAt" in file["data"]) == (20000, True, True)
    wish = CREATE | {"input_file_id": file["data"]["id"], "completion_window": "48h"}
    created = http.post("/batches", json=wish).json()
    assert (created["status"], created["request_counts"]) == ("in_queue", None)
    batch, _ = wait(http, f"/batches/{created['id']}", "status", {"completed"})
    assert batch["request_counts"] is None
    assert contents(read(http.get(f"/files/{batch['output_file_id']}/content"))) == answers(bodies)
    assert [one["id"] for one in http.get("/batches").json()["data"]] == [batch["id"]]
    assert len(http.get("/files").json()["data"]["data"]) == 3
    assert isinstance(http.get("/batches/none").json(), str)
    bad = http.post("/batches", json={})
    assert (bad.status_code, set(bad.json())) == (400, {"code", "message", "data"})


def test_doubleword(speak, wait, bodies):
    http, _ = speak("doubleword")
    reply = upload(http, full(bodies))
    assert reply.status_code == 201
    wish = CREATE | {"input_file_id": reply.json()["id"], "completion_window": "24h"}
    reply = http.post("/batches", json=wish)
    assert reply.status_code == 201
    uuid.UUID(reply.json()["id"])
    batch, _ = wait(http, f"/batches/{reply.json()['id']}", "status", {"completed"})
    assert contents(read(http.get(f"/files/{batch['output_file_id']}/content"))) == answers(bodies)
    merged = http.get(f"/batches/{batch['id']}/results")
    assert merged.headers["x-incomplete"] == "false"
    lines = read(merged)
    assert {name: line["status"] for name, line in lines.items()} == {
        "a": "completed",
        "b": "completed",
        "hot": "failed",
    }
    assert lines["a"]["response_body"]["choices"][0]["message"]["content"] == answers(bodies)["a"]
    assert isinstance(lines["hot"]["error"], str)
    missing = http.get("/batches/none")
    assert missing.headers["content-type"].startswith("text/plain")
    gone = [http.delete(f"/batches/{batch['id']}") for _ in range(2)]
    assert [(one.status_code, bool(one.content)) for one in gone] == [(204, False), (404, True)]
    bare_file = upload(http, bare(bodies)).json()["id"]
    failed = http.post("/batches", json=wish | {"input_file_id": bare_file}).json()
    batch, _ = wait(http, f"/batches/{failed['id']}", "status", {"failed"})
    assert batch["errors"]["data"][0]["param"] == "method"


def test_cerebras(speak, wait, bodies):
    http, server = speak("cerebras")
    file_id = upload(http, full(bodies)).json()["id"]
    assert "-" not in file_id
    wish = CREATE | {"input_file_id": file_id, "completion_window": "24h", "metadata": {"tags": ["x"]}}
    batch_id = http.post("/batches", json=wish).json()["id"]
    batch, _ = wait(http, f"/batches/{batch_id}", "status", {"completed"})
    assert contents(read(http.get(f"/files/{batch['output_file_id']}/content"))) == answers(bodies)
    late = http.delete(f"/batches/{batch_id}")
    assert (late.status_code, set(late.json())) == (400, {"message", "type", "param", "code"})
    assert "x-ratelimit-remaining-requests-day" in late.headers
    server.faults([{"kind": "stuck", "status": "validating"}])
    other = http.post("/batches", json=wish).json()["id"]
    cancelled = http.delete(f"/batches/{other}").json()
    assert (cancelled["status"], cancelled["request_counts"]) == ("cancelling", None)
    wait(http, f"/batches/{other}", "status", {"cancelled"})
    broken = http.post("/batches", json=wish | {"input_file_id": upload(http, b"{").json()["id"]}).json()["id"]
    assert isinstance(wait(http, f"/batches/{broken}", "status", {"failed"})[0]["errors"], str)


def test_unknown(unknown, clock, wait, bodies):
    http, server = unknown
    file = upload(http, bare(bodies)).json()["result"]
    created = http.post("/batches", json=CREATE | {"input_file_id": file["file_id"]}).json()["result"]
    path = f"/batches/{created['batch_id']}"
    assert created["result_file_id"]
    assert http.get(f"/files/{created['result_file_id']}/content").status_code == 404
    clock.advance(0.4)
    assert http.get("/batches").json()["listData"] == []
    batch, seen = wait(http, path, "state", {"JOB_STATE_SUCCEEDED"})
    assert set(seen) <= {"JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_WRAPPING_UP", "JOB_STATE_SUCCEEDED"}
    assert (batch["total"], batch["completed"], batch["failed"]) == (3, 3, 1)
    assert is_iso(batch["created_at"])
    assert int(batch["started_at"]) * 1000 <= batch["completed_at"]
    lines = read(http.get(f"/files/{batch['result_file_id']}/content", follow_redirects=True))
    got = {name: line["response"]["choices"]["message"]["content"] for name, line in lines.items()}
    assert got == {name: [{"type": "text", "text": text}] for name, text in answers(bodies).items()}
    refused = read(http.get(f"/files/{batch['error_file']}/content", follow_redirects=True))["hot"]
    assert (refused["response"], type(refused["error"])) == (None, str)
    late = http.delete(path)
    assert (late.status_code, "data" in late.json()) == (200, True)
    assert "X-RateLimit-Remaining-Minute" in late.headers
    clock.advance(0.2)
    page = http.get("/batches", params={"page": 1, "size": 10}).json()
    assert ([one["batch_id"] for one in page["listData"]], page["totalPage"]) == ([created["batch_id"]], 1)
    assert http.get("/models").json()["data"][0]["model_type"] is None
    odd = http.post("/batches", json=CREATE | {"input_file_id": upload(http, full(bodies)).json()["result"]["file_id"]})
    clock.advance(1)
    batch, _ = wait(http, f"/batches/{odd.json()['result']['batch_id']}", "state", {"JOB_STATE_FAILED"})
    assert batch["errors"][0]["code"] == "unknown_parameter"
    assert server.ledger()["requests"] == {"a": 1, "b": 1}


@pytest.fixture
def wrapped(connect, clock):
    with running(Settings(dialect="wrapped", batch_seconds=0.1, clock=clock)) as server:
        yield connect(server), server


def unwrapped(reply):
    envelope = reply.json()
    assert (envelope["code"], envelope["message"]) == (0, "success")
    return envelope["data"]


def test_the_gateway_wraps_everything(wrapped, wait, bodies, clock):
    http, server = wrapped
    assert {model["id"] for model in unwrapped(http.get("/models"))["listData"]} == set(DEFAULT_MODELS)
    file = unwrapped(upload(http, bare(bodies)))
    assert unwrapped(http.get(f"/files/{file['fileId']}")) == file
    assert http.post("/batch-jobs", json={"input_file_id": file["fileId"]}).json()["code"] == 40001
    created = http.post("/batch-jobs", json={"inputFileId": file["fileId"], "metadata": {"mark": "ours"}})
    assert (created.status_code, unwrapped(created)["batchStatus"]) == (201, "PENDING")
    path = f"/batch-jobs/{unwrapped(created)['batchId']}"
    clock.advance(1)
    batch, _ = wait(http, path, "batchStatus", {"FINALISED"}, unwrapped)
    begun = dt.datetime.strptime(batch["createdAt"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=dt.UTC)
    assert begun.timestamp() == int(clock.now) - 1 + 7 * 3600
    lines = [json.loads(line) for line in http.get(f"/files/{batch['resultFileId']}/content").text.splitlines()]
    got = {one["customId"]: unwrapped_body(one)["choices"][0]["message"]["content"] for one in lines}
    assert got == answers(bodies)
    (refused,) = map(json.loads, http.get(f"/files/{batch['failureFileId']}/content").text.splitlines())
    assert (refused["response"]["statusCode"], refused["response"]["body"]["code"]) == (400, 40001)
    late = http.post(f"{path}/cancel")
    assert (late.status_code, late.json()["code"], late.json()["data"]) == (200, 40901, None)
    page = unwrapped(http.get("/batch-jobs", params={"pageNum": 1, "pageSize": 10}))
    assert ([one["metadata"] for one in page["listData"]], page["totalPage"]) == ([{"mark": "ours"}], 1)
    assert unwrapped(http.delete(path)) == {"batchId": batch["batchId"]}
    assert http.get(path).status_code == 404
    assert server.ledger()["requests"] == {"a": 1, "b": 1}


def unwrapped_body(line):
    body = line["response"]["body"]
    assert (line["response"]["statusCode"], body["code"]) == (200, 0)
    return body["data"]


@pytest.mark.parametrize("dialect", sorted(HELD_BACK))
def test_those_that_are_held_back_word_every_phase_too(dialect):
    assert set(HELD_BACK[dialect].words) == set(Phase)


@pytest.mark.parametrize(
    ("status", "start"),
    [
        (400, '{"detail":[{'),
        (401, '{"message":"'),
        (404, '{"error":"'),
        (409, '{"data":[{'),
        (413, "<html>"),
        (500, '[{"message":'),
    ],
)
def test_the_unknown_has_another_error_shape_for_every_status(speak, status, start):
    http, server = speak("unknown")
    server.faults([{"endpoint": "GET /models", "kind": "status", "status": status}])
    assert http.get("/models").text.startswith(start)


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_every_dialect_keeps_the_same_bill(speak, until, bodies, dialect):
    http, server = speak(dialect)
    spoken = DIALECTS[dialect]
    _, path = spoken.routes["POST /files"]
    purpose = next(iter(spoken.upload_purposes))
    file = upload(http, (full if spoken.line_form == "full" else bare)(bodies), path=path, purpose=purpose).json()
    file = file.get("data") or file.get("result") or file
    file_id = file.get("id") or file.get("file_id")
    wish = CREATE | {"input_file_id": file_id, "input_files": [file_id], "completion_window": "24h"}
    assert http.post(spoken.routes["POST /batches"][1], json=wish).is_success
    until(lambda: server.ledger()["requests"] == {"a": 1, "b": 1})
    assert server.ledger()["batches"][0]["input_file_id"] == file_id


@pytest.mark.parametrize("lost", [None, {"kind": "reset_after"}, {"kind": "timeout", "done": True}])
@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_every_dialect_lists_the_files_that_were_uploaded_even_where_the_reply_was_lost(
    speak, begin, until, dialect, lost
):
    http, server = speak(dialect)
    spoken = DIALECTS[dialect]
    path, purpose = spoken.routes["POST /files"][1], next(iter(spoken.upload_purposes))

    def form(name, size):
        return {"files": {"file": (name, b"x" * size)}, "data": {"purpose": purpose}}

    if lost is None:
        assert http.post(path, **form("one.jsonl", 70_000)).is_success
    else:
        server.faults([lost | {"endpoint": "POST /files"}])
        call = begin(http, "POST", path, **form("one.jsonl", 70_000))
        until(lambda: server.ledger()["files_uploaded"] == 1)
        if lost["kind"] == "timeout":
            call.close()
        else:
            with pytest.raises(ConnectionResetError):
                call.getresponse()
    assert http.post(path, **form("two.jsonl", 2)).is_success
    files = http.get("/files").json()
    while isinstance(files, dict):
        files = files.get("data") or files["listData"]
    names, sizes = ("file_name", "size") if dialect == "unknown" else ("filename", "bytes")
    assert [(file[names], int(file[sizes])) for file in files] == [("two.jsonl", 2), ("one.jsonl", 70_000)]
    assert server.ledger()["files_uploaded"] == 2


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_every_dialect_words_every_phase_and_refuses_strangers_in_its_own_shape(speak, dialect):
    assert set(DIALECTS[dialect].words) == set(Phase)
    http, _ = speak(dialect)
    del http.headers["authorization"]
    reply = http.get("/models")
    assert reply.status_code == 401
    assert "API key" in reply.text
