import httpx
import pytest

DROP = {"endpoint": "POST /batches", "kind": "reset_after"}


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
