import json
from collections import Counter
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from greennode_emulator.answers import answer_for
from greennode_emulator.refusals import RefusedError


class Label(BaseModel):
    label: Literal["good", "bad"]
    score: float


SCHEMA = {"type": "json_schema", "json_schema": {"name": "label", "schema": Label.model_json_schema()}}


@given(st.text(max_size=100))
def test_equal_bodies_have_equal_answers_whatever_the_order_of_their_keys(text):
    one = {"model": "m", "messages": [{"role": "user", "content": text}]}
    other = {"messages": [{"content": text, "role": "user"}], "model": "m"}
    assert answer_for(one) == answer_for(other)


def test_different_messages_have_different_answers(body):
    assert len({answer_for(body(f"row {row}")).content for row in range(1000)}) == 1000


def test_a_text_carries_the_short_hash_of_its_messages(body):
    answer = answer_for(body())
    assert len(answer.fingerprint) == 8
    assert answer.fingerprint in answer.content
    assert answer.choices[0].finish_reason == "stop"


def test_an_answer_to_a_schema_satisfies_it(body):
    answers = [answer_for(body(f"row {row}", response_format=SCHEMA)).content for row in range(50)]
    assert set(Counter(Label.model_validate_json(answer).label for answer in answers)) == {"good", "bad"}


def test_json_object_gives_a_json_object(body):
    assert isinstance(json.loads(answer_for(body(response_format={"type": "json_object"})).content), dict)


@pytest.mark.parametrize("model", ["deepseek-r1", "x/thinker", "my-Reasoner", "greennode/greenmind-medium-14b-r1"])
def test_reasoning_models_think_in_the_open(body, model):
    content = answer_for(body(response_format=SCHEMA) | {"model": model}).content
    thoughts, _, rest = content.removeprefix("<think>\n").partition("\n</think>\n\n")
    assert thoughts
    wraps = "greenmind" in model
    assert rest.startswith("<answer>") is wraps
    Label.model_validate_json(rest.removeprefix("<answer>").removesuffix("</answer>"))


@pytest.mark.parametrize("model", ["google/gemma-4-31b-it", "x/air1", "qwen/qwen3.6-flash"])
def test_other_models_do_not_think(body, model):
    assert "<think>" not in answer_for(body() | {"model": model}).content


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_a_longer_answer_is_cut_to_the_beginning_of_the_whole_one(body, limit):
    whole = answer_for(body())
    short = answer_for(body(**{limit: 3}))
    assert whole.content.startswith(short.content)
    assert whole.content != short.content
    assert short.choices[0].finish_reason == "length"
    assert short.completion_tokens == 3


def test_n_gives_so_many_different_choices(body):
    answer = answer_for(body(n=4))
    assert len({choice.content for choice in answer.choices}) == 4
    assert answer.completion_tokens == sum(choice.tokens for choice in answer.choices)


def test_the_seed_changes_the_answer(body):
    assert answer_for(body(seed=1)).content != answer_for(body(seed=2)).content


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"top_p": 2}, "top_p"),
        ({"stream": True}, "stream"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}},
            "response_format.json_schema.schema",
        ),
        ({"tools": [{"type": "retrieval"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": 1}}]}, "tools[0].function.parameters"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "any"}, "tool_choice"),
        (
            {
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "tool_choice": {"type": "function", "function": {"name": "g"}},
            },
            "tool_choice",
        ),
        (
            {
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"not": {}}}}],
                "tool_choice": "required",
            },
            "tools.function.parameters",
        ),
    ],
)
def test_nonsense_is_a_400_that_names_the_parameter(body, change, param):
    with pytest.raises(RefusedError) as caught:
        answer_for(body() | change)
    assert caught.value.status == 400
    assert caught.value.param == param
    assert param in caught.value.message or "schema" in caught.value.message


def test_a_body_without_messages_is_a_400():
    with pytest.raises(RefusedError) as caught:
        answer_for({"model": "m"})
    assert (caught.value.status, caught.value.code) == (400, "missing_required_parameter")
    assert caught.value.param == "messages"


LABEL_TOOL = {"type": "function", "function": {"name": "label", "parameters": Label.model_json_schema()}}
OTHER_TOOL = {"type": "function", "function": {"name": "give_up"}}


def test_a_tool_that_is_named_is_called_with_arguments_that_fit_it(body):
    wish = {"tools": [OTHER_TOOL, LABEL_TOOL], "tool_choice": {"type": "function", "function": {"name": "label"}}}
    choices = [answer_for(body(f"row {row}", **wish)).choices[0] for row in range(50)]
    assert {(choice.function, choice.finish_reason) for choice in choices} == {("label", "tool_calls")}
    assert {Label.model_validate_json(choice.content).label for choice in choices} == {"good", "bad"}


def test_where_a_tool_is_required_any_of_them_is_called(body):
    wish = {"tools": [OTHER_TOOL, LABEL_TOOL], "tool_choice": "required"}
    called = {answer_for(body(f"row {row}", **wish)).choices[0].function for row in range(50)}
    assert called == {"label", "give_up"}


@pytest.mark.parametrize("choice", [{}, {"tool_choice": "auto"}, {"tool_choice": "none"}])
def test_where_no_tool_is_required_the_answer_is_the_text_that_it_is_without_tools(body, choice):
    assert answer_for(body(tools=[LABEL_TOOL], **choice)) == answer_for(body())


def test_a_call_that_is_cut_ends_for_its_length(body):
    wish = {"tools": [LABEL_TOOL], "tool_choice": "required"}
    choice = answer_for(body(max_tokens=2, **wish)).choices[0]
    assert (choice.function, choice.finish_reason) == ("label", "length")
    assert answer_for(body(**wish)).content.startswith(choice.content)
