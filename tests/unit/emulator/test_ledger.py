"""What is wasted: billed, and of no use to any client because the server destroyed the answer."""

import json
import sqlite3

import httpx
import pytest

from greennode_emulator.answers import answer_for
from greennode_emulator.faults.batch_faults import Forgotten
from greennode_emulator.ledger import Ledger
from greennode_emulator.records import BatchRecord
from greennode_emulator.server import running
from greennode_emulator.settings import Settings
from greennode_emulator.store import Store

ROWS = 40
CONTENT = "GET /files/{id}/content"
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": NUMBER}}
# The tables as they were before waste was counted.
EARLIER = """
CREATE TABLE files (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, record BLOB);
CREATE TABLE batches (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, record BLOB);
CREATE TABLE billed (custom_id TEXT);
CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER);
CREATE TABLE created (id TEXT PRIMARY KEY, input_file_id TEXT, at REAL, billed INTEGER);
INSERT INTO billed VALUES ('old');
INSERT INTO counters VALUES ('requests_billed', 1);
INSERT INTO created VALUES ('b0', 'f0', 1000, 1);
"""


@pytest.fixture
def bodies(body):
    return {f"r{row}": body(str(row)) for row in range(ROWS)}


@pytest.fixture
def content(bodies, jsonl):
    return jsonl(bodies)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


def make_batch(name, *faults):
    return BatchRecord(
        id=name,
        input_file_id="f",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata=None,
        created_at=1000,
        seconds=1,
        faults=faults,
    )


def bill(ledger, batch_id, *custom_ids, wasted=()):
    ledger.bill(batch_id, custom_ids, wasted=wasted, prompt_tokens=1, completion_tokens=1)


@pytest.fixture
def billed(until):
    """The ledger, once so many requests are billed."""

    def ledger(server, number):
        read = server.ledger()
        return read if read["requests_billed"] >= number else None

    return lambda server, number=ROWS: until(lambda: ledger(server, number))


@pytest.fixture
def ended(until):
    """The newest batch at its end, by the list, which does not count as a look."""

    def newest(caller):
        batch = caller.http.get("/batches").json()["data"][0]
        return batch if batch["status"] == "completed" else None

    return lambda caller: until(lambda: newest(caller))


def answered(lines, bodies):
    """The custom_ids whose true answer can be read."""
    return {
        line["custom_id"]
        for line in lines
        if line["custom_id"] in bodies
        and line["response"]["body"]["choices"][0]["message"]["content"]
        == answer_for(bodies[line["custom_id"]]).content
    }


@pytest.mark.parametrize(
    ("fault", "unreadable"),
    [
        ({"kind": "missing"}, 0),
        ({"kind": "unknown_id", "instead": True}, 0),
        ({"kind": "not_json"}, 3),
        ({"kind": "wrong_schema"}, 0),
        ({"kind": "empty_answer"}, 0),
    ],
)
def test_a_line_whose_answer_was_destroyed_is_billed_and_wasted(caller, emulator, body, jsonl, fault, unreadable):
    bodies = {f"r{row}": body(str(row), response_format=SCHEMA) for row in range(ROWS)}
    emulator.faults([fault | {"count": 3}])
    batch = caller.run(jsonl(bodies))
    raw = caller.http.get(f"/files/{batch['output_file_id']}/content").content.split(b"\n")[:-1]
    readable = [line for line in raw if line.endswith(b"}")]
    assert len(raw) - len(readable) == unreadable
    destroyed = set(bodies) - answered(map(json.loads, readable), bodies)
    assert len(destroyed) == 3
    ledger = emulator.ledger()
    assert ledger["wasted"] == dict.fromkeys(destroyed, 1)
    assert ledger["requests_wasted"] == 3
    assert ledger["requests"] == dict.fromkeys(bodies, 1)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "duplicate"},
        {"kind": "duplicate", "order": "failure_first"},
        {"kind": "duplicate", "order": "success_first"},
        {"kind": "unknown_id"},
        {"kind": "utf16_line"},
        {"kind": "separators"},
        {"kind": "cut_off"},
        {"kind": "content_filter"},
        {"kind": "wrong_schema"},
    ],
)
def test_a_line_with_an_answer_or_a_verdict_to_be_read_is_not_wasted(caller, emulator, content, fault):
    emulator.faults([fault | {"batches": 1}])
    caller.run(content)
    assert emulator.armed() == []
    ledger = emulator.ledger()
    assert (ledger["wasted"], ledger["requests_wasted"]) == ({}, 0)
    assert ledger["requests_billed"] == ROWS


@pytest.mark.parametrize(
    ("wish", "wasted"),
    [(SCHEMA, 1), ({"type": "json_object"}, 0), ({"type": "text"}, 0), (None, 0)],
)
def test_an_answer_of_another_schema_is_wasted_only_where_a_schema_was_asked_for(
    caller, emulator, body, jsonl, wish, wasted
):
    emulator.faults([{"kind": "wrong_schema", "batches": 1}])
    caller.run(jsonl({"a": body(response_format=wish)}))
    assert emulator.armed() == []
    ledger = emulator.ledger()
    assert (ledger["requests_billed"], ledger["requests_wasted"]) == (1, wasted)


@pytest.mark.parametrize("kind", ["bom", "utf16", "crlf", "no_final_newline", "file_error_line", "empty_error_file"])
def test_a_file_that_is_written_in_another_way_wastes_nothing(caller, emulator, content, kind):
    emulator.faults([{"kind": kind}])
    caller.run(content)
    assert emulator.armed() == []
    ledger = emulator.ledger()
    assert (ledger["requests_billed"], ledger["wasted"]) == (ROWS, {})


@pytest.mark.parametrize("kind", ["line_error", "null_response", "status_zero", "credit_out"])
def test_what_is_not_billed_is_not_wasted(caller, emulator, content, kind):
    emulator.faults([{"kind": kind}])
    caller.run(content)
    ledger = emulator.ledger()
    assert ledger["requests_billed"] < ROWS
    assert ledger["wasted"] == {}


def test_a_refused_request_whose_line_is_missing_is_neither_billed_nor_wasted(caller, emulator, bodies, body, jsonl):
    emulator.faults([{"kind": "missing"}])
    caller.run(jsonl(bodies | {"hot": body(temperature=3)}))
    ledger = emulator.ledger()
    assert ledger["requests"] == ledger["wasted"] == dict.fromkeys(bodies, 1)


def test_all_that_a_forgotten_batch_billed_is_wasted_and_a_second_attempt_is_not(
    caller, emulator, bodies, content, billed
):
    emulator.faults([{"kind": "forgotten", "after_looks": 1}, {"kind": "missing", "count": 3, "batches": 1}])
    batch_id = caller.start(content)
    assert caller.http.get(f"/batches/{batch_id}").status_code == 200
    assert billed(emulator)["wasted"] == dict.fromkeys(bodies, 1)
    assert caller.http.get(f"/batches/{batch_id}").status_code == 404
    batch = caller.run(content)
    assert len(caller.lines(batch["output_file_id"])) == ROWS
    ledger = emulator.ledger()
    assert (ledger["requests_billed"], ledger["requests_wasted"]) == (2 * ROWS, ROWS)
    assert ledger["requests"] == dict.fromkeys(bodies, 2)
    assert ledger["wasted"] == dict.fromkeys(bodies, 1)


def test_a_batch_that_is_forgotten_before_anybody_looked_is_wasted(caller, emulator, bodies, content, billed):
    file_id = caller.upload(content).json()["id"]
    emulator.faults([{"kind": "forgotten"}, {"kind": "reset_after", "endpoint": "POST /batches"}])
    with pytest.raises(httpx.TransportError):
        caller.create(file_id)
    assert caller.http.get("/batches").json()["data"] == []
    assert billed(emulator)["wasted"] == dict.fromkeys(bodies, 1)


def test_a_batch_that_may_still_be_found_is_not_wasted(caller, emulator, content):
    emulator.faults([{"kind": "forgotten", "after_seconds": 60}, {"kind": "forgotten", "after_looks": 100}])
    caller.run(content)
    assert emulator.armed() == []
    assert emulator.ledger()["wasted"] == {}


def test_results_that_were_fetched_before_the_batch_was_forgotten_are_not_wasted(
    caller, emulator, bodies, content, ended
):
    emulator.faults([{"kind": "forgotten", "after_looks": 1}])
    caller.start(content)
    batch = ended(caller)
    assert caller.http.get(f"/batches/{batch['id']}").status_code == 200
    assert len(caller.lines(batch["output_file_id"])) == ROWS
    assert caller.http.get(f"/batches/{batch['id']}").status_code == 404
    ledger = emulator.ledger()
    assert (ledger["requests"], ledger["wasted"]) == (dict.fromkeys(bodies, 1), {})


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset_after"},
        {"kind": "reset_before"},
        {"kind": "timeout", "done": True},
        {"kind": "timeout"},
        {"kind": "error_after"},
        {"kind": "status"},
    ],
)
def test_results_that_no_client_got_a_byte_of_do_not_save_a_forgotten_batch(
    caller, emulator, bodies, content, fault, ended
):
    emulator.faults([{"kind": "forgotten", "after_looks": 1}, fault | {"endpoint": CONTENT}])
    caller.start(content)
    batch = ended(caller)
    caller.http.get(f"/batches/{batch['id']}")
    caller.http.timeout = httpx.Timeout(60, read=0.2)
    try:
        assert caller.http.get(f"/files/{batch['output_file_id']}/content").status_code > 500
    except httpx.TransportError:
        assert fault["kind"] in {"reset_after", "reset_before", "timeout"}
    assert emulator.armed() == []
    assert emulator.ledger()["wasted"] == dict.fromkeys(bodies, 1)


def test_an_error_file_that_was_fetched_does_not_save_the_answers(caller, emulator, bodies, body, jsonl, ended):
    emulator.faults([{"kind": "forgotten", "after_looks": 1}])
    caller.start(jsonl(bodies | {"hot": body(temperature=3)}))
    batch = ended(caller)
    caller.http.get(f"/batches/{batch['id']}")
    assert len(caller.lines(batch["error_file_id"])) == 1
    assert emulator.ledger()["wasted"] == dict.fromkeys(bodies, 1)


def test_results_fetched_from_another_origin_are_not_wasted_but_a_mere_redirect_saves_nothing(
    jsonl, body, billed, until
):
    with running(Settings(dialect="unknown", batch_seconds=0.05)) as server:
        headers = {"authorization": f"Bearer {server.api_key}"}
        with httpx.Client(base_url=server.base_url, headers=headers, trust_env=False) as http:
            upload = http.post("/files", files={"file": ("x", jsonl({"a": body()}))}, data={"purpose": "batch"})
            server.faults([{"kind": "forgotten", "after_looks": 1}])
            wish = {"endpoint": "/v1/chat/completions", "input_file_id": upload.json()["result"]["file_id"]}
            created = http.post("/batches", json=wish).json()["result"]
            billed(server, 1)
            assert http.get(f"/batches/{created['batch_id']}").status_code == 200
            path = f"/files/{created['result_file_id']}/content"
            until(lambda: http.get(path).status_code == 302)
            assert server.ledger()["wasted"] == {"a": 1}
            reply = http.get(path)
        assert httpx.get(reply.headers["location"], trust_env=False).status_code == 200
        assert server.ledger()["wasted"] == {}


def test_results_fetched_from_the_batch_itself_are_not_wasted(jsonl, body, billed):
    line = jsonl({"a": body()}).replace(
        b'{"custom_id"', b'{"method": "POST", "url": "/v1/chat/completions", "custom_id"'
    )
    with running(Settings(dialect="doubleword", batch_seconds=0.05)) as server:
        headers = {"authorization": f"Bearer {server.api_key}"}
        with httpx.Client(base_url=server.base_url, headers=headers, trust_env=False) as http:
            upload = http.post("/files", files={"file": ("x", line)}, data={"purpose": "batch"}).json()
            server.faults([{"kind": "forgotten", "after_looks": 1}])
            wish = {"endpoint": "/v1/chat/completions", "input_file_id": upload["id"], "completion_window": "24h"}
            batch_id = http.post("/batches", json=wish).json()["id"]
            billed(server, 1)
            assert http.get(f"/batches/{batch_id}").status_code == 200
            assert server.ledger()["wasted"] == {"a": 1}
            assert http.get(f"/batches/{batch_id}/results").text.count("\n") == 1
            assert server.ledger()["wasted"] == {}


def test_what_a_lost_batch_bills_after_its_results_were_fetched_is_wasted(store):
    ledger = Ledger(store)
    for name in ("lost", "other"):
        batch = make_batch(name, *([Forgotten(after_seconds=50)] if name == "lost" else []))
        store.batches.add(batch)
        ledger.add_batch(batch)
    bill(ledger, "lost", "a", "b", wasted={"b"})
    bill(ledger, "other", "x")
    ledger.add_served("lost")
    bill(ledger, "lost", "c", "d", wasted={"d"})
    bill(ledger, "other", "y")
    assert ledger.read(now=1049)["wasted"] == {"b": 1, "d": 1}
    assert ledger.read(now=1050)["wasted"] == {"b": 1, "c": 1, "d": 1}


def test_a_bill_that_is_not_committed_leaves_no_waste_behind(store):
    ledger = Ledger(store)

    def bill_and_fail():
        with store.transaction():
            bill(ledger, "b", "a", wasted={"a"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        bill_and_fail()
    assert (ledger.read(now=0)["requests"], ledger.read(now=0)["wasted"]) == ({}, {})
    bill(ledger, "b", "a", wasted={"a"})
    assert (ledger.read(now=0)["requests"], ledger.read(now=0)["wasted"]) == ({"a": 1}, {"a": 1})


def test_waste_outlives_the_process(tmp_path, caller, bodies, content, billed):
    settings = Settings(state=tmp_path, api_keys=("key",), batch_seconds=0.05)
    with running(settings) as server:
        before = type(caller)(server)
        server.faults([{"kind": "missing", "count": 3, "batches": 1}])
        before.run(content)
        server.faults([{"kind": "forgotten"}])
        before.start(content)
        ledger = billed(server, 2 * ROWS)
    assert sorted(ledger["wasted"].values()) == [1] * (ROWS - 3) + [2] * 3
    with running(settings) as server:
        again = server.ledger()
    assert again["wasted"] == ledger["wasted"]
    assert again["requests_wasted"] == ROWS + 3


def test_a_reset_forgets_what_was_wasted(caller, emulator, content):
    emulator.faults([{"kind": "missing"}])
    caller.run(content)
    assert emulator.ledger()["requests_wasted"] == ROWS
    emulator.reset()
    ledger = emulator.ledger()
    assert (ledger["wasted"], ledger["requests_wasted"]) == ({}, 0)
    caller.run(content)
    assert emulator.ledger()["requests_wasted"] == 0


def test_a_summary_has_the_total_of_waste_and_leaves_out_its_map(caller, emulator, content):
    emulator.faults([{"kind": "missing", "count": 3}])
    caller.run(content)
    summary = emulator.ledger(summary=True)
    assert summary["requests_wasted"] == 3
    assert "wasted" not in summary
    assert set(emulator.ledger()) - set(summary) == {"requests", "wasted", "chat_requests", "chat_lost"}


def test_a_state_folder_of_an_earlier_version_opens_with_its_bills_and_counts_on(tmp_path):
    database = sqlite3.connect(tmp_path / "state.db")
    database.executescript(EARLIER)
    database.close()
    for _ in range(2):
        store = Store(tmp_path)
        ledger = Ledger(store)
        batch = make_batch(f"b{ledger.read(now=0)['requests_billed']}", Forgotten())
        store.batches.add(batch)
        ledger.add_batch(batch)
        bill(ledger, batch.id, "new")
        store.close()
    store = Store(tmp_path)
    read = Ledger(store).read(now=2000)
    store.close()
    assert read["requests"] == {"old": 1, "new": 2}
    assert read["wasted"] == {"new": 2}
    assert [one["id"] for one in read["batches"]] == ["b0", "b1", "b2"]
