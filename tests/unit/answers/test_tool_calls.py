import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.answers.tool_calls import calls_as_json
from greennode_batch.api.results.result_line import ToolCall

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ARGUMENTS = st.dictionaries(TEXTS, st.none() | st.integers(-(2**53), 2**53) | TEXTS | st.lists(TEXTS, max_size=2))


@given(st.lists(st.tuples(TEXTS, ARGUMENTS), max_size=3))
def test_calls_are_a_json_list_in_their_order_with_arguments_that_can_be_queried(calls):
    made = calls_as_json([ToolCall(name, json.dumps(arguments)) for name, arguments in calls])
    assert json.loads(made) == [{"name": name, "arguments": arguments} for name, arguments in calls]


@pytest.mark.parametrize("words", ["", "oops", '{"cut": "off', "{'a': 1}", "[" * 100_000])
def test_arguments_that_are_no_json_stand_there_as_a_text(words):
    assert json.loads(calls_as_json([ToolCall("label", words)])) == [{"name": "label", "arguments": words}]


def test_a_number_that_no_reader_holds_keeps_its_digits():
    assert '{"n": 12345678901234567890.123}' in calls_as_json([ToolCall("f", '{"n": 12345678901234567890.123}')])
