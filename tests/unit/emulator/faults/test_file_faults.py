import httpx
import pytest


def test_a_file_can_be_missing_for_its_first_looks(caller, body, jsonl, emulator):
    emulator.faults([{"kind": "file_not_found", "looks": 2}])
    file_id = caller.upload(jsonl({"a": body()})).json()["id"]
    assert caller.http.get(f"/files/{file_id}").status_code == 404
    assert caller.create(file_id).status_code == 404
    assert caller.create(file_id).status_code == 200
    assert emulator.ledger()["batches_created"] == 1


def test_a_file_can_be_missing_for_some_time(timed, clock):
    timed.server.faults([{"kind": "file_not_found", "seconds": 5}])
    path = f"/files/{timed.upload(b'x').json()['id']}"
    clock.advance(4)
    assert timed.http.get(path).status_code == 404
    clock.advance(1)
    assert timed.http.get(path).status_code == 200


@pytest.mark.parametrize("status", [400, 409])
def test_a_file_can_still_be_processing_at_create(caller, body, jsonl, emulator, status):
    emulator.faults([{"kind": "file_processing", "looks": 2, "status": status}])
    file = caller.upload(jsonl({"a": body()})).json()
    assert file["status"] == "processing"
    assert [one["status"] for one in caller.http.get("/files").json()["data"]] == ["processing"]
    assert caller.http.get(f"/files/{file['id']}").json()["status"] == "processing"
    refused = caller.create(file["id"])
    assert refused.status_code == status
    assert refused.json()["error"]["code"] == "file_not_ready"
    assert caller.http.get(f"/files/{file['id']}").json()["status"] == "processed"
    assert [one["status"] for one in caller.http.get("/files").json()["data"]] == ["processed"]
    assert caller.create(file["id"]).status_code == 200


def test_the_refusal_of_a_file_that_is_processed_can_look_like_that_of_a_bad_field(caller, body, jsonl):
    caller.server.faults([{"kind": "file_processing", "looks": 1, "status": 422, "code": "PROCESSING"}])
    file_id = caller.upload(jsonl({"a": body()})).json()["id"]
    refused = caller.create(file_id)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "PROCESSING")
    assert refused.json()["error"]["param"] == "input_file_id"
    assert caller.create(file_id).status_code == 200


def test_a_file_can_be_processing_for_some_time(timed, clock, body, jsonl):
    timed.server.faults([{"kind": "file_processing", "seconds": 5}])
    file_id = timed.upload(jsonl({"a": body()})).json()["id"]
    for seconds, status, created in ((4, "processing", 400), (1, "processed", 200)):
        clock.advance(seconds)
        assert timed.http.get(f"/files/{file_id}").json()["status"] == status
        assert [one["status"] for one in timed.http.get("/files").json()["data"]] == [status]
        assert timed.create(file_id).status_code == created


def test_only_so_many_files_are_struck(caller, emulator):
    emulator.faults([{"kind": "file_processing", "seconds": 60, "count": 2}])
    assert [caller.upload(b"x").json()["status"] for _ in range(3)] == ["processing", "processing", "processed"]


def test_a_lower_limit_than_documented_holds_for_every_file(caller, emulator):
    emulator.faults([{"kind": "too_large", "max_bytes": 1000}])
    assert caller.upload(b"x" * 1000).status_code == 200
    assert [caller.upload(b"x" * 1001).status_code for _ in range(3)] == [413, 413, 413]
    assert len(caller.http.get("/files").json()["data"]) == 1


def test_a_lower_limit_can_show_as_a_reset(caller, emulator):
    emulator.faults([{"kind": "too_large", "max_bytes": 1000, "reset": True}])
    with pytest.raises(httpx.TransportError):
        caller.upload(b"x" * 1_000_000)
    assert caller.http.get("/files").json()["data"] == []
