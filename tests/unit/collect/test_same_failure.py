import json
import re

import pytest
from pydantic import BaseModel

from greennode_batch.collect.collect import collect_shard
from greennode_batch.collect.same_failure import same_failure
from greennode_batch.errors import SystematicFailureError
from greennode_batch.retry.build_retry import build_retry
from greennode_batch.state.receipts import read_receipt
from greennode_batch.state.stops import stops_of

TEXTS = [f"text {n}" for n in range(25)]


class Label(BaseModel):
    label: str


def answered(content, end="stop"):
    return {"status_code": 200, "body": {"choices": [{"message": {"content": content}, "finish_reason": end}]}}


def refused(status, message="The model cannot do this"):
    return {"status_code": status, "body": {"error": {"message": message}}}


@pytest.fixture
def collect(make_run, client, ended, clock):
    """Collects a run whose results the server wrote so: (responses, …) -> run, plan, the error if there was one."""

    def run(responses, *, ratio=0.95, explains_errors=False, **job):
        run, plan = make_run(("id", "text"), list(enumerate(TEXTS[: len(responses)])), **job)
        error, left = None, list(responses)
        for planned in plan.shards:
            shard = run.shard(planned.shard_id)
            ended(shard)
            ids = [json.loads(line)["custom_id"] for line in shard.requests.read_bytes().splitlines()]
            lines = [{"custom_id": name, "response": left.pop(0)} for name in ids]
            # As if it had been fetched: both files are whole in staging.
            shard.output.write_text("".join(json.dumps(line) + "\n" for line in lines))
            shard.errors.write_bytes(b"")
            try:
                collect_shard(
                    shard,
                    client,
                    job.get("answer"),
                    systematic_failure_ratio=ratio,
                    explains_errors=explains_errors,
                    clock=clock,
                )
            except SystematicFailureError as raised:
                error = raised
        return run, plan, error

    return run


@pytest.mark.parametrize(
    ("response", "job", "reason"),
    [
        (answered(""), {}, "the answers are empty.*real time"),
        (answered("  "), {"answer": Label}, "the answers are empty"),
        (answered("no JSON"), {"answer": Label}, "do not fit the answer model.*explain_errors=True"),
        (answered("<think>hm", "length"), {}, "cut off while the model thinks.*max_tokens"),
        (refused(404), {}, "HTTP 404.*the server's message"),
        (
            {"status_code": 200, "body": {"choices": [{"message": {"refusal": "no"}, "finish_reason": "stop"}]}},
            {},
            "refused.*change the prompt",
        ),
    ],
)
def test_what_nearly_all_requests_end_with_is_not_asked_again(response, job, reason, collect, make_job, client):
    run, plan, error = collect([response] * 24 + [answered('{"label": "x"}')], **job)
    assert error is not None
    assert error.args[0].startswith("24 of 25 requests of model google/gemma-4-31b-it (96%)")
    assert re.search(reason, error.args[0])
    (stop,) = stops_of(run)
    assert stop.words == error.args[0]
    assert 1 <= len(stop.samples) <= 5
    assert stop.samples[0] not in stop.words
    assert read_receipt(run.shard(plan.shards[0].shard_id)).state == "collected"
    assert build_retry(make_job(**job), run, plan, attempt=2, profile=client.profile).requests == 0


@pytest.mark.parametrize(
    ("responses", "job"),
    [
        ([answered("")] * 23 + [answered("fine")] * 2, {}),
        ([answered("")] * 19, {}),
        ([answered("")] * 12 + [answered("x")] * 13, {"answer": Label}),
        ([refused(400)] * 13 + [refused(404)] * 12, {}),
        # These may pass.
        ([answered("half an", "abort")] * 25, {}),
        ([refused(429)] * 25, {}),
        ([refused(500)] * 25, {}),
    ],
)
def test_what_may_be_bad_luck_is_asked_again_as_ever(responses, job, collect):
    run, _, error = collect(responses, **job)
    assert error is None
    assert stops_of(run) == []


def test_small_shards_of_a_model_count_together(collect, make_job, client):
    run, plan, error = collect([answered("")] * 25, max_shard_requests=10)
    assert error is not None
    # By then it had 20 requests, and the last shard only says the same.
    assert error.args[0].startswith("20 of 20 requests")
    assert build_retry(make_job(), run, plan, attempt=2, profile=client.profile).requests == 0


def test_what_one_shard_says_of_a_model_is_taken_back_where_others_are_better(collect, make_job, client):
    responses = [answered("")] * 20 + [answered("fine")] * 5
    run, plan, error = collect(responses, max_shard_requests=20)
    assert error is not None
    assert build_retry(make_job(), run, plan, attempt=2, profile=client.profile).requests == 20
    assert stops_of(run) == []


def test_answers_that_do_not_fit_are_asked_again_where_the_model_is_shown_what_is_wrong(collect, make_job, client):
    run, plan, error = collect([answered("no JSON")] * 25, answer=Label, explains_errors=True)
    assert error is None
    job = make_job(answer=Label, explain_errors=True)
    assert build_retry(job, run, plan, attempt=2, profile=client.profile).requests == 25


def test_a_job_may_send_all_the_same(collect, make_job, client):
    run, plan, _ = collect([answered("")] * 25)
    shard = run.shard(plan.shards[0].shard_id)
    assert collect_shard(shard, client, None, systematic_failure_ratio=None) == {"invalid_output": 25}
    assert stops_of(run) == []
    job = make_job(systematic_failure_ratio=None)
    assert build_retry(job, run, plan, attempt=2, profile=client.profile).requests == 25


def test_nothing_is_said_of_shards_that_are_not_collected(make_shard):
    assert same_failure([make_shard("a")], 0.95) is None
