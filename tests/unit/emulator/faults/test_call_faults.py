import gzip
import select
import time

import httpx
import pytest

DROP = {"endpoint": "POST /batches", "kind": "reset_after"}
CONTENT = "GET /files/{id}/content"
FLAT = '{"message":"No room.","type":"server_error","param":null,"code":"busy"}'
LINES = b'{"row": 1}\n{"row": 2}\n{"row": 3}\n{"row": 4}\n'


def test_a_create_that_is_carried_out_and_then_dropped_left_a_batch(caller, body, jsonl, emulator):
    file_id = caller.upload(jsonl({"a": body()})).json()["id"]
    emulator.faults([DROP])
    with pytest.raises(httpx.ReadError):
        caller.create(file_id)
    (batch,) = caller.http.get("/batches").json()["data"]
    assert batch["input_file_id"] == file_id
    assert caller.wait(batch["id"])["status"] == "completed"
    ledger = emulator.ledger()
    assert (ledger["batches_created"], ledger["requests"]) == (1, {"a": 1})
    assert ledger["calls"]["POST /batches"] == 1
    assert caller.create(file_id).status_code == 200


def test_a_dropped_connection_sends_no_bytes(emulator):
    # httpx says "without sending a response" for an orderly end; a reset has its own error.
    emulator.faults([{"endpoint": "GET /models", "kind": "reset_after"}])
    with pytest.raises(httpx.ReadError, match="reset"):
        httpx.get(
            f"{emulator.base_url}/models",
            headers={"authorization": f"Bearer {emulator.api_key}"},
            trust_env=False,
        )


def test_an_upload_can_be_dropped_after_it_was_stored(caller, emulator):
    emulator.faults([{"endpoint": "POST /files", "kind": "reset_after"}])
    with pytest.raises(httpx.TransportError):
        caller.upload(b"x" * 3_000_000)
    (file,) = caller.http.get("/files").json()["data"]
    assert file["bytes"] == 3_000_000


def test_a_dropped_download_of_many_bytes_ends(caller, emulator):
    file_id = caller.upload(b"x" * 3_000_000).json()["id"]
    emulator.faults([{"endpoint": "GET /files/{id}/content", "kind": "reset_after"}])
    with pytest.raises(httpx.ReadError):
        caller.http.get(f"/files/{file_id}/content")
    assert len(caller.http.get(f"/files/{file_id}/content").content) == 3_000_000


def test_a_fault_strikes_as_often_as_it_counts_and_nowhere_else(caller, emulator):
    emulator.faults([{"endpoint": "GET /batches", "kind": "reset_after", "count": 2}])
    assert caller.http.get("/models").status_code == 200
    assert emulator.armed()[0]["count"] == 2
    for left in (1, 0):
        with pytest.raises(httpx.ReadError):
            caller.http.get("/batches")
        assert sum(fault["count"] for fault in emulator.armed()) == left
    assert caller.http.get("/batches").status_code == 200


def test_a_call_without_a_key_uses_no_fault_up(emulator):
    emulator.faults([DROP])
    assert httpx.post(f"{emulator.base_url}/batches", trust_env=False).status_code == 401
    assert len(emulator.armed()) == 1


def test_a_reset_disarms(emulator):
    emulator.faults([DROP])
    emulator.reset()
    assert emulator.armed() == []


@pytest.mark.parametrize(
    "fault", [{}, DROP | {"endpoint": "POST /batch"}, DROP | {"kind": "x"}, DROP | {"count": 0}, DROP | {"y": 1}]
)
def test_a_fault_that_could_never_strike_is_refused(emulator, fault):
    with pytest.raises(ValueError, match="faults"):
        emulator.faults([fault])
    assert emulator.armed() == []


@pytest.mark.parametrize(
    ("shape", "type_", "text"),
    [
        (
            "dialect",
            "application/json",
            '{"error":{"message":"No room.","type":"server_error","param":null,"code":"busy"}}',
        ),
        (
            "error",
            "application/json",
            '{"error":{"message":"No room.","type":"server_error","param":null,"code":"busy"}}',
        ),
        ("error_text", "application/json", '{"error":"No room."}'),
        ("flat", "application/json", FLAT),
        ("message", "application/json", '{"message":"No room."}'),
        ("detail", "application/json", '{"detail":"No room."}'),
        ("detail_list", "application/json", '{"detail":[{"loc":["body",null],"msg":"No room.","type":"busy"}]}'),
        ("data", "application/json", '{"data":[{"code":"busy","line":null,"message":"No room."}]}'),
        ("list", "application/json", '[{"message":"No room.","count":1}]'),
        ("coded", "application/json", '{"code":20429,"message":"No room.","data":null}'),
        ("json_text", "application/json", '"No room."'),
        ("text", "text/plain; charset=utf-8", "No room."),
        ("empty", "text/plain; charset=utf-8", ""),
    ],
)
def test_a_status_is_given_in_the_shape_that_was_asked_for(caller, emulator, shape, type_, text):
    fault = {"endpoint": "POST /batches", "kind": "status", "status": 429, "shape": shape}
    emulator.faults([fault | {"message": "No room.", "code": "busy", "headers": {"Retry-After": "7"}}])
    reply = caller.create("file-any")
    assert reply.status_code == 429
    assert reply.headers["retry-after"] == "7"
    assert reply.headers["content-type"] == type_
    assert reply.text == text


@pytest.mark.parametrize("status", [200, 204, 402, 503, 599])
def test_any_status_can_be_given_and_nothing_is_done(caller, emulator, status):
    emulator.faults([{"endpoint": "POST /files", "kind": "status", "status": status}])
    reply = caller.upload(b"x" * 3_000_000)
    assert reply.status_code == status
    assert ("error" in reply.text) is (status != 204)
    assert caller.http.get("/files").json()["data"] == []


def test_html_is_a_page_of_a_proxy(caller, emulator):
    emulator.faults([{"endpoint": "GET /batches", "kind": "html"}])
    reply = caller.http.get("/batches")
    assert (reply.status_code, reply.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert "<h1>502 Bad Gateway</h1>" in reply.text


def test_an_error_after_the_fact_left_the_batch(caller, body, jsonl, emulator):
    file_id = caller.upload(jsonl({"a": body()})).json()["id"]
    emulator.faults([{"endpoint": "POST /batches", "kind": "error_after", "status": 504}])
    assert caller.create(file_id).status_code == 504
    assert [batch["input_file_id"] for batch in caller.http.get("/batches").json()["data"]] == [file_id]


@pytest.mark.parametrize(("done", "stored"), [(False, 0), (True, 1)])
def test_a_timeout_lasts_until_the_client_gives_up(caller, emulator, begin, until, done, stored):
    emulator.faults([{"endpoint": "POST /files", "kind": "timeout", "done": done}])
    call = begin(caller.http, "POST", "/files", files={"file": ("in.jsonl", b"x")}, data={"purpose": "batch"})
    until(lambda: emulator.ledger()["calls"].get("POST /files"))
    until(lambda: len(caller.http.get("/files").json()["data"]) == stored)
    assert select.select([call.sock], [], [], 0)[0] == []
    call.close()
    assert len(caller.http.get("/files").json()["data"]) == stored


def test_a_reset_before_the_fact_leaves_nothing(caller, emulator):
    emulator.faults([{"endpoint": "POST /files", "kind": "reset_before"}])
    with pytest.raises(httpx.TransportError):
        caller.upload(b"x" * 3_000_000)
    assert caller.http.get("/files").json()["data"] == []


def test_slow_is_late_and_then_slow(caller, emulator):
    file_id = caller.upload(b"x" * 1000).json()["id"]
    emulator.faults([{"endpoint": CONTENT, "kind": "slow", "seconds": 0.1, "bytes_per_second": 5000}])
    started = time.monotonic()
    assert len(caller.http.get(f"/files/{file_id}/content").content) == 1000
    assert time.monotonic() - started > 0.25


@pytest.mark.parametrize("length", ["right", "none"])
@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.77, 1.0])
def test_a_truncated_download_that_looks_whole_ends_in_mid_line(caller, emulator, length, fraction):
    file_id = caller.upload(LINES).json()["id"]
    emulator.faults([{"endpoint": CONTENT, "kind": "truncated", "length": length, "fraction": fraction}])
    reply = caller.http.get(f"/files/{file_id}/content")
    assert LINES.startswith(reply.content)
    assert 0 < len(reply.content) < len(LINES)
    assert not reply.content.endswith((b"\n", b"}"))
    assert ("content-length" in reply.headers) is (length == "right")


def test_a_truncated_download_with_a_lying_length_breaks_off(caller, emulator):
    file_id = caller.upload(LINES).json()["id"]
    emulator.faults([{"endpoint": CONTENT, "kind": "truncated"}])
    with pytest.raises(httpx.RemoteProtocolError, match=r"received 2\d bytes, expected 44"):
        caller.http.get(f"/files/{file_id}/content")


@pytest.mark.parametrize("declared", [True, False])
def test_gzip_comes_though_nobody_asked(caller, emulator, declared):
    file_id = caller.upload(LINES).json()["id"]
    emulator.faults([{"endpoint": CONTENT, "kind": "gzip", "declared": declared}])
    reply = caller.http.get(f"/files/{file_id}/content", headers={"accept-encoding": "identity"})
    assert (reply.headers.get("content-encoding") == "gzip") is declared
    assert (reply.content if declared else gzip.decompress(reply.content)) == LINES


def test_headers_are_added_to_a_reply_that_is_as_always(caller, emulator):
    emulator.faults([{"endpoint": "GET /models", "kind": "headers", "headers": {"X-RateLimit-Remaining-Minute": "0"}}])
    reply = caller.http.get("/models")
    assert reply.headers["x-ratelimit-remaining-minute"] == "0"
    assert reply.json()["object"] == "list"


def test_the_first_calls_can_be_let_pass(caller, emulator):
    emulator.faults([{"endpoint": "GET /models", "kind": "html", "skip": 2}])
    assert [caller.http.get("/models").status_code for _ in range(4)] == [200, 200, 502, 200]


def test_a_rate_strikes_the_same_calls_for_the_same_seed(caller, emulator):
    def struck(seed):
        emulator.reset()
        emulator.faults([{"endpoint": "GET /models", "kind": "html", "rate": 0.3, "seed": seed, "count": None}])
        return [caller.http.get("/models").status_code == 502 for _ in range(60)]

    first = struck(1)
    assert 8 < sum(first) < 30
    assert struck(1) == first
    assert struck(2) != first
    assert emulator.armed()[0]["count"] is None


def test_a_list_can_show_nothing(caller, emulator):
    names = [caller.upload(b"x").json()["id"] for _ in range(2)]
    emulator.faults([{"kind": "partial_list", "endpoint": "GET /files"}])
    empty = caller.http.get("/files").json()
    assert (empty["data"], empty["has_more"]) == ([], False)
    assert {one["id"] for one in caller.http.get("/files").json()["data"]} == set(names)


def test_the_pages_of_a_list_need_not_turn(caller, emulator):
    first, last = [caller.upload(b"x").json()["id"] for _ in range(2)]
    emulator.faults([{"kind": "partial_list", "endpoint": "GET /files", "show": "first_page", "count": None}])
    for after in (None, last, first, "nonsense"):
        page = caller.http.get("/files", params={"limit": 1} | ({"after": after} if after else {})).json()
        assert ([one["id"] for one in page["data"]], page["has_more"]) == ([last], True)


def test_the_content_of_a_file_can_be_json_that_says_where_it_is(caller, emulator):
    file_id = caller.upload(LINES).json()["id"]
    emulator.faults([{"kind": "content_url"}, {"kind": "content_url", "elsewhere": False}])
    urls = [caller.http.get(f"/files/{file_id}/content").json()["url"] for _ in range(2)]
    assert [url.startswith(emulator.root_url) for url in urls] == [False, True]
    for url in urls:
        assert httpx.get(url, trust_env=False).content == LINES
    # The other origin does not want the key of the API; where both are one origin, it does no harm.
    assert [caller.http.get(url).status_code for url in urls] == [400, 200]
    assert caller.http.get(f"/files/{file_id}/content").content == LINES


def test_a_list_can_want_a_header(caller, emulator):
    name = caller.upload(b"x").json()["id"]
    fault = {"kind": "partial_list", "endpoint": "GET /files", "unless_header": "x-provider", "count": None}
    emulator.faults([fault])
    assert caller.http.get("/files").json()["data"] == []
    (listed,) = caller.http.get("/files", headers={"X-Provider": "any"}).json()["data"]
    assert listed["id"] == name
