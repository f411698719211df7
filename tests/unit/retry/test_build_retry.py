"""Attempts after the first: exactly what is worth asking again, from real results of real faults."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.submit import submit
from greennode_batch.collect.collect import collect_shard
from greennode_batch.request.request_lines import request_ids
from greennode_batch.retry.build_retry import build_retry
from greennode_batch.state.attempts import all_sent, attempt_shards, read_retry, settling_shards
from greennode_batch.state.receipts import latest_claim
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.write.join import join_shard


class Label(BaseModel):
    label: str


NOW = 7.0


@pytest.fixture
def settle(client, ended):
    """Submits shards, waits for their ends and collects them."""

    def run(shards, answer=Label):
        for shard in shards:
            ended(shard)
            collect_shard(shard, client, answer)

    return run


@pytest.fixture
def collected(make_run, settle):
    """A run of n rows in shards of some requests, collected once: (run, plan, retry)."""

    def make(rows=20, *, max_shard_requests=8, **job):
        texts = [(n, f"text {n}") for n in range(rows)]
        run, plan = make_run(("id", "text"), texts, answer=Label, max_shard_requests=max_shard_requests, **job)
        settle(attempt_shards(run, plan, 1))
        return run, plan

    return make


@pytest.fixture
def retry_of(make_job):
    def build(run, plan, attempt=2, **job):
        job = make_job(answer=Label, **job)
        return build_retry(job, run, plan, attempt=attempt, profile=ApiProfile(), clock=lambda: NOW)

    return build


def statuses(run, plan):
    found = {}
    for planned in plan.shards:
        shard = run.shard(planned.shard_id)
        with join_shard(shard, owner=RowOwner("r"), answer_fields=AnswerReader(Label).fields) as joined:
            found |= {row["id"]: row["status"] for rows in joined for row in rows.to_pylist()}
    return found


def test_where_all_is_well_nothing_is_asked_again(collected, retry_of):
    run, plan = collected()
    assert retry_of(run, plan).shards == ()
    assert attempt_shards(run, plan, 2) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "missing", "rate": 0.3},
        {"kind": "not_json", "rate": 0.3},
        {"kind": "wrong_schema", "rate": 0.3},
        {"kind": "empty_answer", "rate": 0.3},
        {"kind": "null_response", "rate": 0.3},
        {"kind": "null_response", "rate": 0.3, "error": "text"},
        {"kind": "status_zero", "rate": 0.3},
        {"kind": "line_error", "rate": 0.3, "status": 429},
        {"kind": "line_error", "rate": 0.3, "status": 500},
        {"kind": "line_error", "rate": 0.3, "status": 408},
        {"kind": "line_error", "rate": 0.3, "status": 409},
        {"kind": "expired"},
        {"kind": "expired", "listed": False},
        {"kind": "cancelled"},
        {"kind": "failed", "fraction": 0.5, "code": "internal"},
    ],
    ids=str,
)
def test_what_may_end_better_is_asked_again_and_what_is_finished_is_not(fault, collected, retry_of, settle, emulator):
    strikes = {"batches": 1} if "rate" in fault else {"count": 1}
    emulator.faults([{**fault, **strikes}])
    run, plan = collected(rows=60, max_shard_requests=30)
    unfinished = {key for key, status in statuses(run, plan).items() if status != "succeeded"}
    assert 0 < len(unfinished) < 60
    retry = retry_of(run, plan)
    assert retry.requests == len(unfinished)
    settle(attempt_shards(run, plan, 2))
    assert set(statuses(run, plan).values()) == {"succeeded"}


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"kind": "line_error", "status": 400, "code": "invalid_request"}, "failed"),
        ({"kind": "line_error", "status": 402, "code": "insufficient_credit"}, "failed"),
        ({"kind": "line_error", "status": 403, "code": "model_disabled"}, "failed"),
        ({"kind": "line_error", "status": 404, "code": "model_not_found"}, "failed"),
        ({"kind": "cut_off"}, "truncated"),
        ({"kind": "content_filter"}, "refused"),
    ],
    ids=str,
)
def test_what_would_only_come_again_is_not_asked_again(fault, status, collected, retry_of, emulator):
    emulator.faults([{**fault, "rate": 0.3}])
    run, plan = collected(rows=40)
    assert status in statuses(run, plan).values()
    assert retry_of(run, plan).shards == ()


def test_a_retry_sends_the_lines_as_they_were_and_gathers_those_of_many_shards(collected, retry_of, emulator):
    emulator.faults([{"kind": "missing", "rate": 0.2}])
    run, plan = collected(rows=60)
    assert len(plan.shards) > 5
    retry = retry_of(run, plan)
    (again,) = attempt_shards(run, plan, 2)
    sent = [line for shard in attempt_shards(run, plan, 1) for line in shard.requests.read_bytes().splitlines()]
    assert set(again.requests.read_bytes().splitlines()) < set(sent)
    (planned,) = retry.shards
    for shard in attempt_shards(run, plan, 1):
        shares = not set(request_ids(shard)).isdisjoint(request_ids(again))
        assert (shard.shard_id in planned.origins) is shares
        found = [later.shard_id for later, _ in list(settling_shards(run, shard.shard_id))[1:]]
        assert found == ([again.shard_id] if shares else [])


def test_each_model_is_asked_again_by_itself(collected, retry_of, emulator):
    emulator.faults([{"kind": "missing", "rate": 0.5}])
    models = ["google/gemma-4-31b-it", "openai/gpt-oss-120b"]
    run, plan = collected(rows=12, model=models)
    retry = retry_of(run, plan, model=models)
    assert sorted(shard.model for shard in retry.shards) == models


def test_a_whole_shard_that_is_asked_again_has_a_folder_of_its_own(collected, retry_of, settle, emulator):
    emulator.faults([{"kind": "all_failed", "status": 500}])
    run, plan = collected(rows=5)
    retry = retry_of(run, plan)
    assert retry.shards[0].shard_id == plan.shards[0].shard_id, "the same bytes"
    settle(attempt_shards(run, plan, 2))
    assert set(statuses(run, plan).values()) == {"succeeded"}
    assert len({str(one.folder(run)) for one in all_sent(run, plan)}) == 2


def test_built_again_after_it_was_sent_a_retry_keeps_what_was_sent_and_adds_what_is_new(
    make_run, retry_of, settle, client, emulator
):
    emulator.faults([{"kind": "missing", "rate": 0.5}])
    run, plan = make_run(("id", "text"), [(n, f"t {n}") for n in range(40)], answer=Label, max_shard_requests=20)
    first, second = attempt_shards(run, plan, 1)
    settle([first])
    early = retry_of(run, plan)
    (sent,) = attempt_shards(run, plan, 2)
    submit(sent, client)
    settle([second])
    late = retry_of(run, plan)
    assert late.shards[0] == early.shards[0]
    assert len(late.shards) == 2
    ids = [set(request_ids(shard)) for shard in attempt_shards(run, plan, 2)]
    assert ids[0].isdisjoint(ids[1])
    assert retry_of(run, plan).shards == late.shards


def test_built_again_before_it_was_sent_a_retry_withdraws_what_it_replaces(make_run, retry_of, settle, emulator):
    emulator.faults([{"kind": "missing", "rate": 0.5}])
    run, plan = make_run(("id", "text"), [(n, f"t {n}") for n in range(40)], answer=Label, max_shard_requests=20)
    first, second = attempt_shards(run, plan, 1)
    settle([first])
    retry_of(run, plan)
    (early,) = attempt_shards(run, plan, 2)
    settle([second])
    retry_of(run, plan)
    (both,) = attempt_shards(run, plan, 2)
    assert set(request_ids(early)) < set(request_ids(both))
    assert latest_claim(early).claim.withdrawn
    assert latest_claim(early).claim.claimed_at == read_retry(run, 2).created_at == NOW


def test_a_third_attempt_asks_what_the_second_left(collected, retry_of, settle, emulator):
    emulator.faults([{"kind": "missing", "rate": 0.5, "batches": 6}])
    run, plan = collected(rows=40)
    retry_of(run, plan)
    settle(attempt_shards(run, plan, 2))
    left = {key for key, status in statuses(run, plan).items() if status == "missing"}
    assert left
    third = retry_of(run, plan, attempt=3)
    assert third.requests == len(left)
    emulator.disarm()
    settle(attempt_shards(run, plan, 3))
    assert set(statuses(run, plan).values()) == {"succeeded"}
    assert max(emulator.ledger()["requests"].values()) == 3


def test_a_limit_on_shards_holds_for_retries_too(collected, retry_of, emulator):
    emulator.faults([{"kind": "all_failed", "status": 500, "count": 3}])
    run, plan = collected(rows=20)
    retry = retry_of(run, plan, max_shard_requests=7)
    assert [shard.requests for shard in retry.shards] == [7, 7, 6]
    assert read_retry(run, 2) == retry
    assert not list(Path(str(run)).glob(".work-*"))


def lines_of(shard):
    return {json.loads(line)["custom_id"]: line for line in shard.requests.read_bytes().splitlines()}


def test_a_model_is_told_what_is_wrong_with_its_answer_and_all_else_goes_as_it_was(
    collected, retry_of, settle, emulator
):
    emulator.faults([{"kind": kind, "rate": 0.3, "batches": 1} for kind in ("wrong_schema", "missing", "empty_answer")])
    run, plan = collected(rows=60, max_shard_requests=60, explain_errors=True)
    (first,) = attempt_shards(run, plan, 1)
    results = {row["custom_id"]: row for row in pq.read_table(str(first.results)).to_pylist()}
    retry_of(run, plan, explain_errors=True)
    (second,) = attempt_shards(run, plan, 2)
    sent, again = lines_of(first), lines_of(second)
    assert again.keys() == {custom_id for custom_id, row in results.items() if row["ask_again"]}
    told = {custom_id for custom_id, line in again.items() if line != sent[custom_id]}
    assert told == {custom_id for custom_id, row in results.items() if row["raw_answer"]}
    assert 0 < len(told) < len(again)
    for custom_id in told:
        before, after = (json.loads(lines[custom_id]) for lines in (sent, again))
        *requested, answer, words = after["body"].pop("messages")
        assert requested == before["body"].pop("messages")
        assert after == before
        assert answer == {"role": "assistant", "content": '{"emulator_fault":["wrong_schema"]}'}
        assert words["role"] == "user"
        assert words["content"].startswith("That answer does not fit: label: Field required. Answer again")
    settle([second])
    assert set(statuses(run, plan).values()) == {"succeeded"}
    assert emulator.ledger()["requests"] == {
        custom_id: 2 if custom_id in again and row["status"] != "failed" else 1 for custom_id, row in results.items()
    }


def test_an_explanation_that_is_built_again_is_the_same(collected, retry_of, emulator):
    emulator.faults([{"kind": "wrong_schema", "rate": 0.5}])
    run, plan = collected(rows=20, explain_errors=True)
    retry = retry_of(run, plan, explain_errors=True)
    assert retry_of(run, plan, explain_errors=True).shards == retry.shards


def test_what_an_explanation_makes_too_long_for_a_file_is_asked_without(collected, retry_of, emulator):
    emulator.faults([{"kind": "wrong_schema"}])
    run, plan = collected(rows=4)
    (first,) = attempt_shards(run, plan, 1)
    longest = max(map(len, lines_of(first).values())) + 1
    retry = retry_of(run, plan, explain_errors=True, max_shard_bytes=longest)
    assert [shard.requests for shard in retry.shards] == [1] * 4
    assert set().union(*(lines_of(shard).values() for shard in attempt_shards(run, plan, 2))) == {
        *lines_of(first).values()
    }


def test_explanations_are_held_some_at_a_time(collected, retry_of, emulator, monkeypatch):
    emulator.faults([{"kind": "wrong_schema", "rate": 0.5}])
    run, plan = collected(rows=20, max_shard_requests=20)
    retry_of(run, plan, explain_errors=True)
    whole = [lines_of(shard) for shard in attempt_shards(run, plan, 2)]
    monkeypatch.setattr("greennode_batch.retry.explanations._HELD_CHARACTERS", 1)
    retry_of(run, plan, explain_errors=True)
    assert [lines_of(shard) for shard in attempt_shards(run, plan, 2)] == whole


def test_a_third_attempt_explains_the_second_answer_too(collected, retry_of, settle, emulator):
    emulator.faults([{"kind": "wrong_schema", "batches": 2}])
    run, plan = collected(rows=2, explain_errors=True)
    retry_of(run, plan, explain_errors=True)
    settle(attempt_shards(run, plan, 2))
    retry_of(run, plan, attempt=3, explain_errors=True)
    (third,) = attempt_shards(run, plan, 3)
    for line in lines_of(third).values():
        roles = [message["role"] for message in json.loads(line)["body"]["messages"]]
        assert roles == ["user", "assistant", "user", "assistant", "user"]
    settle([third])
    assert set(statuses(run, plan).values()) == {"succeeded"}
