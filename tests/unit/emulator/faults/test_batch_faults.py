import datetime as dt

import pytest

from greennode_emulator.answers import answer_for
from greennode_emulator.server import running
from greennode_emulator.settings import Settings

ROWS = 40
UNKNOWN = "PAUSED_BY_OPERATOR"


@pytest.fixture
def bodies(body):
    return {f"r{row}": body(str(row)) for row in range(ROWS)}


@pytest.fixture
def content(bodies, jsonl):
    return jsonl(bodies)


def files_of(caller, batch):
    """The lines of both files by custom_id; empty where there is no file."""
    ids = (batch["output_file_id"], batch["error_file_id"])
    return [{line["custom_id"]: line for line in caller.lines(name)} if name else {} for name in ids]


def run(caller, content, *faults, statuses=("completed", "failed", "cancelled", "expired")):
    caller.server.faults(faults)
    return caller.wait(caller.start(content), statuses=set(statuses))


STUCK = [("validating", 0), ("in_progress", ROWS // 4), ("finalizing", ROWS)]


@pytest.mark.parametrize(("status", "done"), STUCK)
def test_a_stuck_batch_stays_until_it_is_cancelled_and_keeps_and_bills_its_finished_lines(
    timed, clock, bodies, content, status, done
):
    timed.server.faults([{"kind": "stuck", "status": status, "fraction": 0.25}])
    batch_id = timed.start(content)
    for _ in range(2):
        clock.advance(24 * 3600)
        timed.wait(batch_id, {status}, done)
        # A batch that came later and has ended: the stuck one had its turns.
        other = timed.start(content)
        clock.advance(1)
        timed.wait(other)
    assert timed.http.get(f"/batches/{batch_id}").json()["status"] == status
    assert timed.http.post(f"/batches/{batch_id}/cancel").json()["status"] == "cancelling"
    clock.advance(1)
    batch = timed.wait(batch_id)
    assert (batch["status"], batch["request_counts"]["completed"]) == ("cancelled", done)
    output, errors = files_of(timed, batch)
    assert (len(output), errors) == (done, {})
    for name, line in output.items():
        assert line["response"]["body"]["choices"][0]["message"]["content"] == answer_for(bodies[name]).content
    ledger = timed.server.ledger()
    assert ledger["requests"] == {name: 3 if name in output else 2 for name in bodies}
    assert ledger["wasted"] == {}


@pytest.mark.parametrize(("status", "done"), STUCK)
def test_a_stuck_batch_may_go_on_after_a_while(timed, clock, content, status, done):
    timed.server.faults([{"kind": "stuck", "status": status, "seconds": 60, "fraction": 0.25}])
    batch_id = timed.start(content)
    # By now it would have ended; it may be stuck from now on, or since its creation.
    clock.advance(50)
    timed.wait(batch_id, {status}, done)
    clock.advance(61)
    batch = timed.wait(batch_id)
    assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", ROWS)


@pytest.mark.parametrize(
    ("fault", "status", "code", "listed"),
    [
        ({"kind": "expired"}, "expired", "batch_expired", True),
        ({"kind": "expired", "listed": False}, "expired", None, False),
        ({"kind": "cancelled"}, "cancelled", None, False),
        ({"kind": "cancelled", "listed": True}, "cancelled", "batch_cancelled", True),
        ({"kind": "failed", "fraction": 0.5, "listed": True}, "failed", "batch_failed", True),
    ],
)
def test_a_batch_that_ends_half_done_bills_what_it_did(caller, content, emulator, fault, status, code, listed):
    batch = run(caller, content, fault)
    assert batch["status"] == status
    assert batch[f"{status}_at"] is not None
    output, errors = files_of(caller, batch)
    assert len(output) == ROWS // 2
    assert emulator.ledger()["requests"] == dict.fromkeys(output, 1)
    assert len(errors) == (ROWS // 2 if listed else 0)
    assert not set(output) & set(errors)
    for line in errors.values():
        assert line["response"] is None
        assert line["error"]["code"] == code


@pytest.mark.parametrize("code", ["token_limit_exceeded", "quota_exceeded"])
def test_a_batch_can_fail_at_once_with_a_code(caller, content, emulator, code):
    batch = run(caller, content, {"kind": "failed", "code": code, "message": "Later."})
    assert batch["status"] == "failed"
    assert [(problem["code"], problem["message"]) for problem in batch["errors"]["data"]] == [(code, "Later.")]
    assert files_of(caller, batch) == [{}, {}]
    assert emulator.ledger()["requests_billed"] == 0
    assert run(caller, content)["status"] == "completed"


@pytest.mark.parametrize("named", [True, False])
def test_a_batch_over_the_limit_on_enqueued_tokens_fails_and_one_below_it_does_not(caller, content, emulator, named):
    fault = {"kind": "enqueued_limit", "tokens": 5, "named": named, "count": 1}
    batch = run(caller, content, fault)
    assert batch["status"] == "failed"
    (problem,) = batch["errors"]["data"]
    assert problem["code"] == "token_limit_exceeded"
    assert "Enqueued token limit reached" in problem["message"]
    assert ("Limit: 5 enqueued tokens" in problem["message"]) is named
    assert emulator.ledger()["requests_billed"] == 0
    assert run(caller, content, {**fault, "tokens": 1_000_000})["status"] == "completed"


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_a_batch_whose_every_line_failed_ends_in_either_way(caller, content, emulator, end):
    batch = run(caller, content, {"kind": "all_failed", "end": end, "status": 500})
    assert batch["status"] == end
    output, errors = files_of(caller, batch)
    assert (len(output), len(errors)) == (0, ROWS)
    assert {line["response"]["status_code"] for line in errors.values()} == {500}
    assert batch["request_counts"] == {"total": ROWS, "completed": 0, "failed": ROWS}
    assert emulator.ledger()["requests_billed"] == 0


@pytest.mark.parametrize(
    ("fault", "done", "status"),
    [
        ({"kind": "credit_out"}, ROWS // 2, 402),
        ({"kind": "credit_out", "fraction": 0.25, "status": 403}, ROWS // 4, 403),
        ({"kind": "model_disabled"}, 0, 403),
        ({"kind": "model_disabled", "status": 404}, 0, 404),
    ],
)
def test_lines_are_refused_from_some_point_on_and_not_billed(caller, content, emulator, fault, done, status):
    batch = run(caller, content, fault)
    assert batch["status"] == "completed"
    output, errors = files_of(caller, batch)
    assert (len(output), len(errors)) == (done, ROWS - done)
    assert {line["response"]["status_code"] for line in errors.values()} == {status}
    assert emulator.ledger()["requests"] == dict.fromkeys(output, 1)


@pytest.mark.parametrize("during", ["validating", "in_progress", "finalizing"])
def test_a_word_that_nobody_knows_shows_for_a_while(timed, clock, content, during):
    timed.server.faults([{"kind": "unknown_status", "during": during}])
    batch_id = timed.start(content)
    for seconds, phase in ((0, "validating"), (0.1, "in_progress"), (0.09, "finalizing"), (1, "completed")):
        clock.advance(seconds)
        timed.wait(batch_id, {UNKNOWN if phase == during else phase})


@pytest.mark.parametrize(
    ("show", "counts"),
    [
        ("zero", {"total": 0, "completed": 0, "failed": 0}),
        ("null", None),
        ("wrong", {"total": ROWS + 1, "completed": ROWS + 1, "failed": 3}),
        ("failed_as_completed", {"total": ROWS + 1, "completed": ROWS + 1, "failed": 0}),
    ],
)
def test_counts_can_be_of_no_use(caller, content, body, jsonl, show, counts):
    batch = run(caller, content + jsonl({"hot": body(temperature=3)}), {"kind": "counts", "show": show})
    assert batch["request_counts"] == counts
    output, errors = files_of(caller, batch)
    assert (len(output), len(errors)) == (ROWS, 1)


def test_ids_can_show_before_the_files_can_be_read(timed, clock, content):
    timed.server.faults([{"kind": "ids_early", "seconds": 5}])
    first = timed.http.get(f"/batches/{timed.start(content)}").json()
    assert first["status"] == "validating"
    assert None not in (first["output_file_id"], first["error_file_id"])
    assert timed.http.get(f"/files/{first['output_file_id']}/content").status_code == 404
    clock.advance(1)
    batch = timed.wait(first["id"])
    assert batch["output_file_id"] == first["output_file_id"]
    assert batch["error_file_id"] is None
    clock.advance(4)
    assert timed.http.get(f"/files/{batch['output_file_id']}/content").status_code == 404
    clock.advance(1)
    assert len(timed.lines(batch["output_file_id"])) == ROWS


def test_the_id_of_no_file_can_be_empty(caller, content):
    batch = run(caller, content, {"kind": "empty_ids"})
    assert (batch["output_file_id"] != "", batch["error_file_id"]) == (True, "")


def test_an_error_file_can_hold_nothing(caller, content):
    batch = run(caller, content, {"kind": "empty_error_file"})
    assert caller.http.get(f"/files/{batch['error_file_id']}").json()["bytes"] == 0
    assert caller.http.get(f"/files/{batch['error_file_id']}/content").content == b""


def test_an_error_line_can_be_for_the_whole_file(caller, content):
    batch = run(caller, content, {"kind": "file_error_line", "code": "odd"})
    (line,) = caller.lines(batch["error_file_id"])
    assert (line["custom_id"], line["response"], line["error"]["code"]) == (None, None, "odd")
    assert batch["request_counts"] == {"total": ROWS, "completed": ROWS, "failed": 0}


@pytest.mark.parametrize(
    ("kind", "encoding", "start", "newline", "end"),
    [
        ("bom", "utf-8", "\ufeff", "\n", "\n"),
        ("utf16", "utf-16-le", "\ufeff", "\n", "\n"),
        ("crlf", "utf-8", "", "\r\n", "\r\n"),
        ("no_final_newline", "utf-8", "", "\n", ""),
    ],
)
def test_a_file_can_be_written_in_another_way(caller, body, jsonl, kind, encoding, start, newline, end):
    bodies = {f"r{row}": body(str(row)) for row in range(300)} | {"hot": body(temperature=3), "hot2": body(n=0)}
    plain = run(caller, jsonl(bodies))
    odd = run(caller, jsonl(bodies), {"kind": kind})
    for name in ("output_file_id", "error_file_id"):
        whole, text = (
            caller.http.get(f"/files/{batch[name]}/content").content.decode(kind)
            for batch, kind in ((plain, "utf-8"), (odd, encoding))
        )
        lines = text.removeprefix(start).removesuffix(end).split(newline)
        assert text == start + newline.join(lines) + end
        assert len(lines) == whole.count("\n")
        assert all(line.startswith("{") and line.endswith("}") for line in lines)


def test_a_forgotten_batch_is_answered_and_billed_all_the_same(caller, content, emulator, until):
    emulator.faults([{"kind": "forgotten", "after_looks": 1}])
    batch_id = caller.start(content)
    assert caller.http.get(f"/batches/{batch_id}").status_code == 200
    until(lambda: emulator.ledger(summary=True)["requests_billed"] == ROWS)
    assert [caller.http.get(f"/batches/{batch_id}").status_code for _ in range(3)] == [404, 404, 404]
    assert caller.http.post(f"/batches/{batch_id}/cancel").status_code == 404
    assert caller.http.get("/batches").json()["data"] == []
    ledger = emulator.ledger()
    assert [batch["requests_billed"] for batch in ledger["batches"]] == [ROWS]


def test_a_batch_can_be_forgotten_from_some_moment(timed, clock, content):
    timed.server.faults([{"kind": "forgotten", "after_seconds": 5}])
    batch_id = timed.start(content)
    clock.advance(4)
    assert timed.http.get(f"/batches/{batch_id}").status_code == 200
    assert len(timed.http.get("/batches").json()["data"]) == 1
    clock.advance(1)
    assert timed.http.get(f"/batches/{batch_id}").status_code == 404
    assert timed.http.get("/batches").json()["data"] == []


@pytest.mark.parametrize(
    ("fault", "seen"), [({"looks": 2}, [404, 404, 200, 200]), ({"after_looks": 2}, [200, 200, 404, 200])]
)
def test_a_batch_can_be_missed_by_some_looks(caller, content, fault, seen):
    caller.server.faults([{"kind": "not_found"} | fault])
    batch_id = caller.start(content)
    assert [caller.http.get(f"/batches/{batch_id}").status_code for _ in seen] == seen


def test_a_batch_can_be_late_in_the_list(timed, clock, content):
    timed.server.faults([{"kind": "late_in_list", "seconds": 5}])
    batch_id = timed.start(content)
    clock.advance(4)
    assert timed.http.get("/batches").json()["data"] == []
    assert timed.http.get(f"/batches/{batch_id}").status_code == 200
    clock.advance(1)
    assert [batch["id"] for batch in timed.http.get("/batches").json()["data"]] == [batch_id]


def test_a_fault_strikes_as_many_batches_as_it_counts(caller, content):
    caller.server.faults([{"kind": "expired", "count": 2}])
    assert [run(caller, content)["status"] for _ in range(3)] == ["expired", "expired", "completed"]


def test_a_rate_strikes_the_same_batches_for_the_same_seed(caller, content):
    def struck():
        caller.server.reset()
        caller.server.faults([{"kind": "failed", "rate": 0.5, "seed": 4, "count": None}])
        return [run(caller, content)["status"] for _ in range(5)]

    first = struck()
    assert set(first) == {"completed", "failed"}
    assert struck() == first


def test_a_fault_stays_with_its_batch_over_a_restart(tmp_path, caller, clock, content):
    settings = Settings(state=tmp_path, api_keys=("key",), batch_seconds=0.05, clock=clock)
    with running(settings) as server:
        server.faults([{"kind": "expired"}])
        batch_id = type(caller)(server).start(content)
    clock.advance(1)
    with running(settings) as server:
        assert server.armed() == []
        assert type(caller)(server).wait(batch_id, statuses={"expired", "completed"})["status"] == "expired"


def test_the_ledger_knows_every_batch_and_its_input_even_when_it_was_deleted(caller, content, emulator):
    batch = run(caller, content)
    caller.http.delete(f"/batches/{batch['id']}")
    entry = {"id": batch["id"], "input_file_id": batch["input_file_id"], "requests_billed": ROWS, "repeat_of": None}
    assert emulator.ledger()["batches"] == [entry]
    assert emulator.ledger(summary=True)["batches"] == [entry]


@pytest.mark.parametrize("keeps", [True, False])
def test_a_gateway_swaps_the_input_file_for_a_copy_of_the_same_requests(caller, content, bodies, keeps):
    caller.server.faults([{"kind": "swapped_file", "metadata": keeps}])
    sent = caller.upload(content).json()["id"]
    batch = caller.wait(caller.create(sent, metadata={"mark": "ours"}).json()["id"])
    assert batch["input_file_id"] != sent
    assert batch["metadata"] == ({"mark": "ours"} if keeps else None)
    assert set(files_of(caller, batch)[0]) == set(bodies)
    inputs = [file for file in caller.http.get("/files").json()["data"] if file["purpose"] == "batch"]
    assert {file["id"] for file in inputs} == {sent, batch["input_file_id"]}
    assert len({file["bytes"] for file in inputs}) == 2
    copied = caller.lines(batch["input_file_id"])
    assert copied == caller.lines(sent)
    ledger = caller.server.ledger()
    assert (ledger["files_uploaded"], ledger["files_copied"], ledger["batches_created"]) == (1, 1, 1)
    assert caller.http.delete(f"/files/{batch['input_file_id']}").is_success


def test_a_file_that_is_no_json_is_copied_as_it_is(caller):
    caller.server.faults([{"kind": "swapped_file"}])
    batch = caller.run(b"not json\n")
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "invalid_json_line")


@pytest.mark.parametrize(("reply", "index"), [("first", 0), ("last", 2)])
def test_a_gateway_repeats_a_create_and_every_batch_runs_and_bills(caller, content, bodies, reply, index):
    caller.server.faults([{"kind": "repeated_create", "times": 2, "reply": reply}])
    sent = caller.upload(content).json()["id"]
    answered = caller.create(sent, metadata={"mark": "ours"}).json()["id"]
    listed = caller.http.get("/batches").json()["data"]
    assert {(one["input_file_id"], one["metadata"]["mark"]) for one in listed} == {(sent, "ours")}
    for one in listed:
        assert set(files_of(caller, caller.wait(one["id"]))[0]) == set(bodies)
    ledger = caller.server.ledger()
    assert [one["id"] for one in ledger["batches"]][index] == answered
    assert [one["repeat_of"] for one in ledger["batches"]] == [None, *[ledger["batches"][0]["id"]] * 2]
    assert (ledger["batches_created"], ledger["batches_repeated"]) == (3, 2)
    assert ledger["requests"] == dict.fromkeys(bodies, 3)
    assert ledger["calls"]["POST /batches"] == 1


@pytest.mark.parametrize(
    ("during", "fault"), [("completed", None), ("expired", {"kind": "expired"}), ("cancelled", {"kind": "cancelled"})]
)
def test_an_end_may_have_a_word_that_nobody_knows_and_result_files_all_the_same(caller, content, during, fault):
    odd = {"kind": "unknown_status", "word": "PARTIAL", "during": during}
    batch = run(caller, content, odd, *([fault] if fault else []), statuses=["PARTIAL"])
    output, _ = files_of(caller, batch)
    assert len(output) == (ROWS // 2 if fault else ROWS)


def test_times_may_be_local_ones_without_an_offset(timed, clock, content):
    timed.server.faults([{"kind": "local_times", "offset_hours": 7}])
    batch_id = timed.start(content)
    clock.advance(1)
    batch = timed.wait(batch_id)
    begun = dt.datetime.strptime(batch["created_at"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=dt.UTC)
    assert begun.timestamp() == int(clock.now - 1) + 7 * 3600
    assert batch["completed_at"] > batch["created_at"]
    assert batch["failed_at"] is None


CAMEL = {"id", "customId", "response", "error"}


def test_lines_may_have_other_names(caller, content, bodies):
    batch = run(caller, content, {"kind": "line_shape", "camel_case": True})
    lines = caller.lines(batch["output_file_id"])
    assert {frozenset(line) for line in lines} == {frozenset(CAMEL)}
    assert {line["customId"] for line in lines} == set(bodies)
    assert {line["response"]["statusCode"] for line in lines} == {200}
    assert all("finish_reason" in line["response"]["body"]["choices"][0] for line in lines)


def test_lines_may_have_the_answer_and_the_id_elsewhere(caller, content, bodies):
    moves = {"custom_id": "meta.reference", "response.body": "output"}
    batch = run(caller, content, {"kind": "line_shape", "moves": moves, "wrapped": "data"}, {"kind": "duplicate"})
    lines = [line["data"] for line in caller.lines(batch["output_file_id"])]
    assert len(lines) == 2 * ROWS
    for line in lines:
        assert "custom_id" not in line
        answer = line["output"]["choices"][0]["message"]["content"]
        assert answer == answer_for(bodies[line["meta"]["reference"]]).content


def test_refused_lines_have_the_same_shape_as_the_others(caller, content):
    refused = [{"kind": "line_error", "count": 1}, {"kind": "null_response", "count": 1}]
    expired = {"kind": "expired"}
    batch = run(caller, content, {"kind": "line_shape", "wrapped": "result"}, expired, *refused)
    assert all(set(line) == {"result"} for line in caller.lines(batch["error_file_id"]))


def test_lines_that_nobody_can_read_are_billed_and_not_wasted(caller, content, bodies):
    batch = run(caller, content, {"kind": "line_shape", "sealed": True})
    text = caller.http.get(f"/files/{batch['output_file_id']}/content").text
    assert len(text.splitlines()) == ROWS
    assert not any(f'"{name}"' in text for name in bodies)
    ledger = caller.server.ledger()
    assert (ledger["requests"], ledger["wasted"]) == (dict.fromkeys(bodies, 1), {})
