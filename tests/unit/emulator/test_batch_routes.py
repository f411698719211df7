import json
import time

import httpx
import pytest

from greennode_emulator.answers import answer_for
from greennode_emulator.server import running
from greennode_emulator.settings import Limits, Settings


def make_bodies(body, count):
    return {f"row-{row}": body(f"question {row}") for row in range(count)}


def test_every_line_gets_its_own_answer(caller, body, jsonl):
    bodies = make_bodies(body, 300)
    batch = caller.run(jsonl(bodies))
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 300, "completed": 300, "failed": 0}
    assert batch["error_file_id"] is None
    lines = caller.lines(batch["output_file_id"])
    assert {line["custom_id"] for line in lines} == set(bodies)
    assert [line["custom_id"] for line in lines] != list(bodies)
    for line in lines:
        answer = answer_for(bodies[line["custom_id"]])
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        reply = line["response"]["body"]
        assert reply["choices"][0]["message"]["content"] == answer.content
        assert reply["usage"]["prompt_tokens"] == answer.prompt_tokens
        assert reply["usage"]["total_tokens"] == answer.prompt_tokens + answer.completion_tokens


def test_refused_lines_go_to_the_error_file_and_are_not_billed(caller, body, jsonl, emulator):
    bodies = make_bodies(body, 3) | {"hot": body(temperature=3), "mute": {"model": body()["model"]}}
    batch = caller.run(jsonl(bodies))
    assert batch["request_counts"] == {"total": 5, "completed": 3, "failed": 2}
    errors = {line["custom_id"]: line for line in caller.lines(batch["error_file_id"])}
    assert set(errors) == {"hot", "mute"}
    assert errors["hot"]["response"]["status_code"] == 400
    assert errors["hot"]["response"]["body"]["error"]["param"] == "temperature"
    assert errors["mute"]["response"]["body"]["error"]["param"] == "messages"
    assert emulator.ledger()["requests"] == {"row-0": 1, "row-1": 1, "row-2": 1}


def test_a_batch_of_refused_lines_completes_with_an_error_file_alone(caller, body, jsonl):
    batch = caller.run(jsonl({"hot": body(temperature=3)}))
    assert batch["status"] == "completed"
    assert batch["output_file_id"] is None
    assert len(caller.lines(batch["error_file_id"])) == 1


def test_lines_with_method_and_url_are_answered_too(caller, body):
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body()}
    batch = caller.run(json.dumps(line).encode())
    assert batch["request_counts"]["completed"] == 1


def test_a_bad_file_fails_after_validation_and_names_the_line(caller, body, jsonl, emulator):
    # Validation takes its time here, so that the first look is surely before its end.
    emulator.faults([{"kind": "stuck", "status": "validating", "seconds": 1}])
    batch_id = caller.start(jsonl({"a": body()}) + b"{oops\n")
    assert caller.http.get(f"/batches/{batch_id}").json()["errors"] is None
    batch = caller.wait(batch_id)
    assert batch["status"] == "failed"
    assert batch["failed_at"] is not None
    assert batch["output_file_id"] is None
    (problem,) = batch["errors"]["data"]
    assert (problem["code"], problem["line"]) == ("invalid_json_line", 2)
    assert emulator.ledger()["requests_billed"] == 0


def test_an_unknown_model_fails_the_batch(caller, body, jsonl):
    batch = caller.run(jsonl({"a": body() | {"model": "nobody/nothing"}}))
    assert batch["status"] == "failed"
    assert batch["errors"]["data"][0]["code"] == "model_not_found"


def test_the_line_limit_is_a_setting(caller, body, jsonl):
    with running(Settings(limits=Limits(max_lines=2), batch_seconds=0.05)) as server:
        small = type(caller)(server)
        assert small.run(jsonl(make_bodies(body, 2)))["status"] == "completed"
        batch = small.run(jsonl(make_bodies(body, 3)))
        assert batch["errors"]["data"][0]["code"] == "too_many_tasks"


def test_counts_grow_and_phases_follow_each_other(slow_caller, body, jsonl):
    batch_id = slow_caller.start(jsonl(make_bodies(body, 1000)))
    started = time.monotonic()
    seen, counts = [], []
    while not seen or seen[-1] != "completed":
        batch = slow_caller.http.get(f"/batches/{batch_id}").json()
        if batch["status"] not in seen:
            seen.append(batch["status"])
        counts.append(batch["request_counts"]["completed"])
        time.sleep(0.01)
    assert seen == ["validating", "in_progress", "finalizing", "completed"]
    assert counts == sorted(counts)
    assert len(set(counts)) > 10
    assert time.monotonic() - started > 1.1
    times = [batch[f"{name}_at"] for name in ("created", "in_progress", "finalizing", "completed")]
    assert times == sorted(times)


def test_a_cancelled_batch_keeps_and_bills_what_was_finished(slow_caller, body, jsonl):
    bodies = make_bodies(body, 1000)
    batch_id = slow_caller.start(jsonl(bodies))
    while slow_caller.http.get(f"/batches/{batch_id}").json()["request_counts"]["completed"] < 100:
        time.sleep(0.01)
    reply = slow_caller.http.post(f"/batches/{batch_id}/cancel")
    assert reply.json()["status"] == "cancelling"
    assert slow_caller.http.post(f"/batches/{batch_id}/cancel").status_code == 200
    batch = slow_caller.wait(batch_id)
    assert batch["status"] == "cancelled"
    done = batch["request_counts"]["completed"]
    assert 100 <= done < 1000
    lines = slow_caller.lines(batch["output_file_id"])
    assert len(lines) == done
    assert slow_caller.server.ledger()["requests"] == {line["custom_id"]: 1 for line in lines}


def test_a_batch_cancelled_while_validating_has_no_results(slow_caller, body, jsonl):
    batch_id = slow_caller.start(jsonl(make_bodies(body, 10)))
    slow_caller.http.post(f"/batches/{batch_id}/cancel")
    batch = slow_caller.wait(batch_id)
    assert batch["status"] == "cancelled"
    assert (batch["output_file_id"], batch["error_file_id"]) == (None, None)


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing"])
def test_deleting_the_input_does_not_hurt_its_batch(caller, emulator, body, jsonl, status):
    bodies = make_bodies(body, 10)
    file_id = caller.upload(jsonl(bodies)).json()["id"]
    emulator.faults([{"kind": "stuck", "status": status, "seconds": 0.2, "fraction": 0.5}])
    batch_id = caller.create(file_id).json()["id"]
    caller.wait(batch_id, {status})
    assert caller.http.delete(f"/files/{file_id}").status_code == 200
    assert caller.http.get(f"/batches/{batch_id}").json()["status"] == status
    batch = caller.wait(batch_id)
    assert (batch["status"], batch["input_file_id"]) == ("completed", file_id)
    for line in caller.lines(batch["output_file_id"]):
        answer = answer_for(bodies.pop(line["custom_id"]))
        assert line["response"]["body"]["choices"][0]["message"]["content"] == answer.content
    assert bodies == {}


def test_deleting_the_results_of_a_batch_takes_them_away_for_good(caller, emulator, body, jsonl):
    batch = caller.run(jsonl(make_bodies(body, 2) | {"hot": body(temperature=3)}))
    for number, name in enumerate((batch["output_file_id"], batch["error_file_id"]), start=1):
        assert caller.http.get(f"/files/{name}/content").status_code == 200
        assert [caller.http.delete(f"/files/{name}").status_code for _ in range(3)] == [200, 404, 404]
        assert caller.http.get(f"/files/{name}/content").status_code == 404
        assert emulator.ledger()["files_deleted"] == number
    assert caller.http.get(f"/batches/{batch['id']}").json()["output_file_id"] == batch["output_file_id"]
    assert [file["id"] for file in caller.http.get("/files").json()["data"]] == [batch["input_file_id"]]


def test_a_deletion_whose_reply_was_lost_is_counted_once(caller, emulator):
    file_id = caller.upload(b"x").json()["id"]
    emulator.faults([{"kind": "reset_after", "endpoint": "DELETE /files/{id}"}])
    with pytest.raises(httpx.TransportError):
        caller.http.delete(f"/files/{file_id}")
    assert caller.http.delete(f"/files/{file_id}").status_code == 404
    assert emulator.ledger()["files_deleted"] == 1


def test_one_file_may_serve_two_batches(caller, body, jsonl, emulator):
    file_id = caller.upload(jsonl(make_bodies(body, 2))).json()["id"]
    for _ in range(2):
        caller.wait(caller.create(file_id).json()["id"])
    ledger = emulator.ledger()
    assert ledger["batches_created"] == 2
    assert ledger["requests"] == {"row-0": 2, "row-1": 2}


def test_only_a_batch_that_has_ended_can_be_deleted(slow_caller, caller, body, jsonl):
    running_id = slow_caller.start(jsonl(make_bodies(body, 2)))
    assert slow_caller.http.delete(f"/batches/{running_id}").status_code == 409
    batch = caller.run(jsonl(make_bodies(body, 2)))
    assert caller.http.delete(f"/batches/{batch['id']}").json()["deleted"] is True
    assert caller.http.get(f"/batches/{batch['id']}").status_code == 404
    assert caller.http.delete(f"/batches/{batch['id']}").status_code == 404
    assert len(caller.lines(batch["output_file_id"])) == 2


def test_a_batch_that_has_ended_cannot_be_cancelled(caller, body, jsonl):
    batch = caller.run(jsonl(make_bodies(body, 1)))
    reply = caller.http.post(f"/batches/{batch['id']}/cancel")
    assert reply.status_code == 409
    assert "completed" in reply.json()["error"]["message"]


def test_batches_are_listed_newest_first_in_pages(caller, body, jsonl):
    file_id = caller.upload(jsonl(make_bodies(body, 1))).json()["id"]
    ids = [caller.create(file_id).json()["id"] for _ in range(5)]
    first = caller.http.get("/batches", params={"limit": 3}).json()
    assert [one["id"] for one in first["data"]] == ids[:1:-1]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[4], ids[2], True)
    second = caller.http.get("/batches", params={"limit": 3, "after": ids[2]}).json()
    assert [one["id"] for one in second["data"]] == [ids[1], ids[0]]
    assert second["has_more"] is False


def test_an_empty_list_has_no_cursor(caller):
    page = caller.http.get("/batches").json()
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize("limit", ["0", "101", "many"])
def test_a_page_size_out_of_range_is_refused(caller, limit):
    reply = caller.http.get("/batches", params={"limit": limit})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "limit"


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"input_file_id": "file-nope"}, 404, "id"),
        ({"input_file_id": 7}, 400, "input_file_id"),
        ({"metadata": {"a": 1}}, 400, "metadata"),
    ],
)
def test_a_create_that_makes_no_sense_is_refused(caller, body, jsonl, change, status, param):
    file_id = caller.upload(jsonl(make_bodies(body, 1))).json()["id"]
    reply = caller.create(file_id, **change)
    assert reply.status_code == status
    assert reply.json()["error"]["param"] == param
    assert caller.http.get("/batches").json()["data"] == []


def test_a_create_without_a_file_is_refused(caller):
    reply = caller.http.post("/batches", json={"endpoint": "/v1/chat/completions"})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "missing_required_parameter"


def test_a_result_file_is_no_input(caller, body, jsonl):
    batch = caller.run(jsonl(make_bodies(body, 1)))
    reply = caller.create(batch["output_file_id"])
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "input_file_id"
