import itertools

import pytest

from greennode_emulator.server import running
from greennode_emulator.settings import Limits, Settings

CONTENT = bytes(range(256)) * 1000


def test_a_file_comes_back_byte_for_byte(caller):
    file = caller.upload(CONTENT).json()
    assert file["bytes"] == len(CONTENT)
    assert (file["object"], file["purpose"], file["filename"]) == ("file", "batch", "in.jsonl")
    reply = caller.http.get(f"/files/{file['id']}/content")
    assert reply.content == CONTENT
    assert reply.headers["content-length"] == str(len(CONTENT))


@pytest.mark.parametrize(
    ("requested", "start", "end"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=255900-", 255_900, 256_000),
        ("bytes=-10", 255_990, 256_000),
        ("bytes=5-5", 5, 6),
    ],
)
def test_a_range_is_honoured(caller, requested, start, end):
    file_id = caller.upload(CONTENT).json()["id"]
    reply = caller.http.get(f"/files/{file_id}/content", headers={"range": requested})
    assert reply.status_code == 206
    assert reply.content == CONTENT[start:end]
    assert reply.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
    assert reply.headers["content-length"] == str(end - start)


def test_a_range_beyond_the_end_is_416(caller):
    file_id = caller.upload(b"abc").json()["id"]
    reply = caller.http.get(f"/files/{file_id}/content", headers={"range": "bytes=10-"})
    assert reply.status_code == 416


def test_files_are_listed_newest_first_in_pages(caller):
    ids = [caller.upload(b"x").json()["id"] for _ in range(3)]
    first = caller.http.get("/files", params={"limit": 2}).json()
    assert [one["id"] for one in first["data"]] == [ids[2], ids[1]]
    assert first["has_more"] is True
    second = caller.http.get("/files", params={"limit": 2, "after": first["last_id"]}).json()
    assert [one["id"] for one in second["data"]] == [ids[0]]
    assert second["has_more"] is False


def test_a_list_shows_its_files_at_one_moment(caller):
    # It is a second later whenever somebody looks at the clock.
    with running(Settings(clock=itertools.count(1000.0).__next__)) as server:
        ticking = type(caller)(server)
        server.faults([{"kind": "file_processing", "seconds": 7, "count": 3}])
        for file_id in [ticking.upload(b"x").json()["id"] for _ in range(3)]:
            assert ticking.http.get(f"/files/{file_id}").json()["status"] == "processing"
        # They are four, five and six seconds old.
        assert [file["status"] for file in ticking.http.get("/files").json()["data"]] == ["processing"] * 3


def test_a_deleted_file_is_gone(caller):
    file_id = caller.upload(b"x").json()["id"]
    assert caller.http.delete(f"/files/{file_id}").json() == {"id": file_id, "object": "file", "deleted": True}
    for reply in (
        caller.http.get(f"/files/{file_id}"),
        caller.http.get(f"/files/{file_id}/content"),
        caller.http.delete(f"/files/{file_id}"),
    ):
        assert reply.status_code == 404
        assert file_id in reply.json()["error"]["message"]


@pytest.mark.parametrize("purpose", ["assistants", ""])
def test_another_purpose_is_refused_and_nothing_is_kept(caller, purpose):
    reply = caller.upload(b"x", purpose=purpose)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "purpose"
    assert caller.http.get("/files").json()["data"] == []


def test_a_form_without_a_file_is_refused(caller):
    reply = caller.http.post("/files", files={"purpose": (None, "batch")})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "missing_required_parameter"


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json"},
        {"content-type": "multipart/form-data"},
        {"content-type": "multipart/form-data; boundary=x"},
    ],
)
def test_a_body_that_is_no_form_is_refused(caller, headers):
    reply = caller.http.post("/files", content=b"{}", headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_the_purpose_may_come_before_or_after_the_file(caller):
    for parts in (
        [("purpose", (None, "batch")), ("file", ("a", b"x"))],
        [("file", ("a", b"x")), ("purpose", (None, "batch"))],
    ):
        assert caller.http.post("/files", files=parts).status_code == 200


def test_a_file_name_holds_no_path(caller):
    reply = caller.http.post("/files", files={"file": ("../../x.jsonl", b"x")}, data={"purpose": "batch"})
    assert reply.json()["filename"] == "x.jsonl"


def test_a_file_over_the_limit_is_413_and_one_at_the_limit_is_not(caller):
    caller_type = type(caller)
    with running(Settings(limits=Limits(max_file_bytes=1_000_000))) as server:
        small = caller_type(server)
        assert small.upload(b"x" * 1_000_000).status_code == 200
        reply = small.upload(b"x" * 1_000_001)
        assert reply.status_code == 413
        assert "1000001 bytes; at most 1000000" in reply.json()["error"]["message"]
        assert len(small.http.get("/files").json()["data"]) == 1
