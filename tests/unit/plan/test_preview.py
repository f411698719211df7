from __future__ import annotations

import pytest
from pydantic import BaseModel

from greennode_batch.api.profile import ApiProfile
from greennode_batch.plan.preview import first_requests, preview, sample_requests
from greennode_batch.source.rows import Rows

MODEL = "google/gemma-4-31b-it"


class Label(BaseModel):
    kind: str


def test_the_first_requests_are_shown_as_the_model_will_see_them(make_run):
    run, plan = make_run(
        ("id", "text"), [(1, "one"), (2, "two"), (3, "three")], system="Be brief.", params={"max_tokens": 5}
    )
    text = preview(run, plan, shown=2)
    assert f'row id = 1, model {MODEL} {{"max_tokens":5}}\n[system]\nBe brief.\n[user]\none' in text
    assert "[user]\ntwo" in text
    assert "three" not in text


def test_counts_longest_request_and_estimate_are_shown(make_run):
    run, plan = make_run(
        ("id", "text"),
        [(1, "x" * 400), (2, "y" * 4), (3, "y" * 4)],
        prices={MODEL: [5671, 14178]},
        params={"max_tokens": 10},
    )
    text = preview(run, plan, shown=0)
    assert "3 rows: 2 requests in 1 shard (" in text
    assert f"longest request: {plan.longest.bytes:,} bytes, of row id = 1" in text
    # 404 characters are about 101 tokens; (101 x 5671 + 20 x 14178) / 1e6 at half the price.
    assert "101 prompt and up to 20 completion tokens, about 0 VND" in text


@pytest.mark.parametrize(
    ("params", "prices", "words"),
    [
        ({}, {MODEL: [1, 1]}, "an unknown number of completion tokens, so the cost is unknown"),
        ({"max_tokens": 10}, {}, f"no price known for {MODEL}"),
    ],
)
def test_what_cannot_be_estimated_is_said_to_be_unknown(params, prices, words, make_run):
    run, plan = make_run(("id", "text"), [(1, "x")], params=params, prices=prices)
    assert words in preview(run, plan, shown=0)


def test_an_empty_table_has_a_preview(make_run):
    run, plan = make_run(("id", "text"), [])
    assert "no request" in preview(run, plan)


def test_requests_go_on_from_shard_to_shard(make_run):
    run, plan = make_run(("id", "text"), [(n, f"text {n}") for n in range(5)], max_shard_requests=2)
    contents = [request.body["messages"][0]["content"] for request in first_requests(run, plan, MODEL)]
    assert contents == [f"text {n}" for n in range(5)]


def test_of_several_samples_one_is_shown(make_run):
    run, plan = make_run(("id", "text"), [(1, "one"), (2, "two"), (3, "one")], samples=3, max_shard_requests=2)
    requests = list(first_requests(run, plan, MODEL))
    assert [request.body["messages"][0]["content"] for request in requests] == ["one", "two"]
    assert "row id = 2, model" in preview(run, plan)
    assert "9 rows: 6 requests in 3 shards" in preview(run, plan)


def test_where_the_api_takes_no_schema_it_stands_in_the_system_message(make_run):
    profile = ApiProfile(json_schema="prompt")
    run, plan = make_run(("id", "text"), [(1, "x")], answer=Label, system="Be brief.", profile=profile)
    (request,) = first_requests(run, plan, MODEL)
    assert "response_format" not in request.body
    assert request.body["messages"][0]["role"] == "system"
    assert request.body["messages"][0]["content"].startswith("Be brief.\n\nAnswer with one JSON object")
    assert '"kind"' in request.body["messages"][0]["content"]


@pytest.mark.parametrize("written", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("taken", ["max_tokens", "max_completion_tokens"])
def test_the_token_limit_goes_by_the_name_that_the_api_takes(written, taken, make_run):
    run, plan = make_run(("id", "text"), [(1, "x")], params={written: 7}, profile=ApiProfile(token_parameter=taken))
    (request,) = first_requests(run, plan, MODEL)
    assert {name: request.body.get(name) for name in ("max_tokens", "max_completion_tokens")} == {
        taken: 7,
        ({"max_tokens", "max_completion_tokens"} - {taken}).pop(): None,
    }


def test_what_is_no_text_is_shown_as_json_and_cut_where_it_is_long(make_run):
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "found"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is on it? {{ text }}"},
                {"type": "image_url", "image_url": {"url": "{{ photo | data_url }}"}},
            ],
        },
    ]
    photo = b"\x89PNG\r\n\x1a\n" + bytes(3_000)
    run, plan = make_run(
        ("id", "text", "photo", "words"), [(1, "x" * 300, photo, 7)],
        prompt=None, messages=messages, row_params={"max_tokens": "words"},
    )  # fmt: skip
    text = preview(run, plan, shown=1)
    assert f', model {MODEL} {{"max_tokens":7}}\n[assistant]\n{{"tool_calls":[' in text
    assert '[tool]\nfound\n{"tool_call_id":"1"}\n' in text
    assert f"[user]\nWhat is on it? {'x' * 300}\n" in text
    assert '{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo' in text
    assert "A… (4,034 characters)" in text
    # An image is no text of four thousand characters.
    assert plan.prompt_tokens[MODEL] == round(len(f"foundWhat is on it? {'x' * 300}") / 4)


@pytest.mark.parametrize(("params", "most"), [({"max_tokens": 100}, (5 + 100 + 7) * 2), ({}, None)])
def test_the_most_that_answers_may_have_goes_by_the_limits_of_the_rows(params, most, make_run):
    rows = [(1, "one", 5), (2, "two", None), (3, "three", 7), (4, "", 1000)]
    _, plan = make_run(
        ("id", "text", "words"), rows, samples=2, params=params, row_params={"max_tokens": "words"},
        prices={MODEL: [0, 1_000_000]}, max_shard_requests=2,
    )  # fmt: skip
    assert (plan.estimate.max_completion_tokens, plan.estimate.completion_tokens) == (most, most)
    assert plan.estimate.max_cost == (most and most / 2)


def test_a_sample_is_what_the_first_row_would_ask_of_each_model(make_job):
    job = make_job(model=[MODEL, "qwen/qwen3.6-flash"], answer=Label, params={"max_tokens": 5})
    text = sample_requests(job, Rows.from_tuples(("id", "text"), iter([[(7, "one"), (8, "two")]])), ApiProfile())
    assert text.count("row id = 7, model ") == 2
    assert f'row id = 7, model {MODEL} {{"max_tokens":5,' in text
    assert "[user]\none" in text
    assert "two" not in text


def test_a_sample_of_a_row_that_asks_nothing_says_why_and_an_empty_source_has_none(make_job):
    job = make_job()
    blank = Rows.from_tuples(("id", "text"), iter([[(7, None)]]))
    assert "row id = 7 asks nothing: " in sample_requests(job, blank, ApiProfile())
    assert sample_requests(job, Rows.from_tuples(("id", "text"), iter([])), ApiProfile()) == ""
