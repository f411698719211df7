import json

import httpx
import pytest

from greennode_emulator.answers import answer_for
from greennode_emulator.dialects.doubleword import DOUBLEWORD
from greennode_emulator.result_files import result_file_id
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


def test_a_bad_file_fails_after_validation_and_names_the_line(timed, clock, body, jsonl):
    batch_id = timed.start(jsonl({"a": body()}) + b"{oops\n")
    assert timed.http.get(f"/batches/{batch_id}").json()["errors"] is None
    clock.advance(1)
    batch = timed.wait(batch_id)
    assert batch["status"] == "failed"
    assert batch["failed_at"] is not None
    assert batch["output_file_id"] is None
    (problem,) = batch["errors"]["data"]
    assert (problem["code"], problem["line"]) == ("invalid_json_line", 2)
    assert timed.server.ledger()["requests_billed"] == 0


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


def test_counts_grow_and_phases_follow_each_other_by_the_clock(timed, clock, body, jsonl):
    batch_id = timed.start(jsonl(make_bodies(body, 1000)))
    created = int(clock.now)
    for seconds, status, completed in (
        (0.0, "validating", 0),
        (0.0601, "in_progress", 250),
        (0.04, "in_progress", 500),
        (0.04, "in_progress", 750),
        (0.045, "finalizing", 1000),
        (5, "completed", 1000),
    ):
        clock.advance(seconds)
        batch = timed.wait(batch_id, {status}, completed)
        assert batch["request_counts"]["total"] == (0 if status == "validating" else 1000)
        assert (batch["completed_at"] is None) is (batch["output_file_id"] is None) is (status != "completed")
    times = [batch[f"{name}_at"] for name in ("created", "in_progress", "finalizing", "completed")]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (created, int(clock.now))


def test_a_cancelled_batch_keeps_and_bills_what_was_finished(timed, clock, body, jsonl):
    batch_id = timed.start(jsonl(make_bodies(body, 1000)))
    clock.advance(0.0601)
    timed.wait(batch_id, {"in_progress"}, completed=250)
    reply = timed.http.post(f"/batches/{batch_id}/cancel")
    assert reply.json()["status"] == "cancelling"
    assert timed.http.post(f"/batches/{batch_id}/cancel").status_code == 200
    clock.advance(5)
    batch = timed.wait(batch_id)
    assert (batch["status"], batch["request_counts"]["completed"]) == ("cancelled", 250)
    lines = timed.lines(batch["output_file_id"])
    assert len(lines) == 250
    assert timed.server.ledger()["requests"] == {line["custom_id"]: 1 for line in lines}


def test_a_batch_cancelled_while_validating_has_no_results(timed, clock, body, jsonl):
    batch_id = timed.start(jsonl(make_bodies(body, 10)))
    timed.http.post(f"/batches/{batch_id}/cancel")
    clock.advance(5)
    batch = timed.wait(batch_id)
    assert batch["status"] == "cancelled"
    assert (batch["output_file_id"], batch["error_file_id"]) == (None, None)


@pytest.mark.parametrize(
    ("seconds", "status", "completed"), [(0, "validating", 0), (0.1001, "in_progress", 5), (0.19, "finalizing", 10)]
)
def test_deleting_the_input_does_not_hurt_its_batch(timed, clock, body, jsonl, seconds, status, completed):
    bodies = make_bodies(body, 10)
    file_id = timed.upload(jsonl(bodies)).json()["id"]
    batch_id = timed.create(file_id).json()["id"]
    clock.advance(seconds)
    timed.wait(batch_id, {status}, completed)
    assert timed.http.delete(f"/files/{file_id}").status_code == 200
    assert timed.http.get(f"/batches/{batch_id}").json()["status"] == status
    clock.advance(5)
    batch = timed.wait(batch_id)
    assert (batch["status"], batch["input_file_id"]) == ("completed", file_id)
    for line in timed.lines(batch["output_file_id"]):
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


def test_only_a_batch_that_has_ended_can_be_deleted(timed, clock, body, jsonl):
    path = f"/batches/{timed.start(jsonl(make_bodies(body, 2)))}"
    assert timed.http.delete(path).status_code == 409
    clock.advance(5)
    batch = timed.wait(path.rpartition("/")[2])
    assert timed.http.delete(path).json()["deleted"] is True
    assert timed.http.get(path).status_code == 404
    assert timed.http.delete(path).status_code == 404
    assert len(timed.lines(batch["output_file_id"])) == 2


def test_a_batch_that_has_ended_cannot_be_cancelled(caller, body, jsonl):
    batch = caller.run(jsonl(make_bodies(body, 1)))
    reply = caller.http.post(f"/batches/{batch['id']}/cancel")
    assert reply.status_code == 409
    assert "completed" in reply.json()["error"]["message"]


def test_results_of_a_batch_in_mid_write_are_those_that_it_counts_and_bills(caller, body, clock, tmp_path):
    settings = Settings(state=tmp_path, dialect="doubleword", batch_seconds=0.2, clock=clock)
    with running(settings) as server:
        half = type(caller)(server)
        line = {"method": "POST", "url": "/v1/chat/completions"}
        lines = [json.dumps({**line, "custom_id": f"r{row}", "body": body(str(row))}).encode() for row in range(40)]
        batch_id = half.start(b"\n".join(lines))
        path = f"/batches/{batch_id}/results"
        clock.advance(0.1001)
        half.wait(batch_id, {"in_progress"}, completed=20)
        # A step writes its lines before it commits them.
        with (tmp_path / "files" / result_file_id(batch_id, "output", DOUBLEWORD)).open("ab") as file:
            file.write(b'{"custom_id": "not committed"}\n{"custom_id": "half a li')
        reply = half.http.get(path)
        assert reply.headers["x-incomplete"] == "true"
        served = {one["custom_id"] for one in map(json.loads, reply.content.split(b"\n")[:-1])}
        assert served == set(server.ledger()["requests"])
        assert len(served) == 20
        clock.advance(5)
        half.wait(batch_id, {"completed"}, completed=40)
        assert len(half.http.get(path).content.split(b"\n")[:-1]) == 40


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
