import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.answers.outcome import outcome_of
from greennode_batch.api.results.result_line import ResultLine, ToolCall
from greennode_batch.state.row_status import RowStatus


class Label(BaseModel):
    label: str


PLAIN, TYPED = AnswerReader(None), AnswerReader(Label)
GOOD = '{"label": "a"}'


def said(reader=TYPED, **fields):
    return outcome_of(ResultLine("c1", 200, **{"finish_reason": "stop", **fields}), reader)


def failed(status=None, code=None, error="broke"):
    return outcome_of(ResultLine("c1", status, code=code, error=error), TYPED)


def test_an_answer_that_fits_is_final_and_has_its_columns():
    outcome = said(content=f"<think>hm</think>{GOOD}")
    assert outcome == (RowStatus.SUCCEEDED, None, "hm", ("a",), False, None)


def test_an_answer_that_does_not_fit_is_kept_as_it_was_written_and_asked_again():
    outcome = said(content="<think>hm</think>no JSON")
    assert (outcome.status, outcome.is_retryable, outcome.values) == (RowStatus.INVALID_OUTPUT, True, None)
    assert outcome.raw_answer == "<think>hm</think>no JSON"


@pytest.mark.parametrize(("content", "values"), [(GOOD, ("a",)), ('{"label": "a', None)])
def test_an_answer_that_was_cut_off_is_final_and_keeps_what_can_be_used(content, values):
    outcome = said(content=content, finish_reason="length")
    assert (outcome.status, outcome.values, outcome.is_retryable) == (RowStatus.TRUNCATED, values, False)


@pytest.mark.parametrize(
    ("end", "status", "again"), [("length", RowStatus.TRUNCATED, False), ("stop", RowStatus.INVALID_OUTPUT, True)]
)
def test_thinking_without_an_answer_is_asked_again_unless_it_ran_out_of_tokens(end, status, again):
    outcome = said(content="<think>hm", finish_reason=end)
    assert (outcome.status, outcome.is_retryable, outcome.reasoning) == (status, again, "hm")


@pytest.mark.parametrize("content", [f"<|channel>thought\n{GOOD}", f"[THINK]{GOOD}", f"<seed:think>{GOOD}"])
@pytest.mark.parametrize(
    ("end", "status"),
    [("length", RowStatus.TRUNCATED), ("stop", RowStatus.INVALID_OUTPUT), ("x", RowStatus.INVALID_OUTPUT)],
)
def test_a_draft_in_the_reasoning_is_never_the_answer(content, end, status):
    outcome = said(content=content, finish_reason=end)
    assert (outcome.status, outcome.values, outcome.reasoning) == (status, None, GOOD)


@pytest.mark.parametrize("end", ["abort", "network-error", "TIMEOUT"])
def test_an_answer_that_the_server_broke_off_is_none_and_is_asked_again(end):
    outcome = said(content=f"<think>hm</think>{GOOD}", finish_reason=end)
    assert (outcome.status, outcome.values, outcome.is_retryable) == (RowStatus.FAILED, None, True)
    assert (end in outcome.error, outcome.reasoning) == (True, "hm")


@pytest.mark.parametrize(("end", "limit"), [("MAX_TOKENS", "max_tokens"), ("modelContextWindowExceeded", "context")])
def test_an_answer_that_was_cut_off_names_the_limit(end, limit):
    outcome = said(content='{"label": "a', finish_reason=end)
    assert (outcome.status, outcome.is_retryable) == (RowStatus.TRUNCATED, False)
    assert limit in outcome.error


@pytest.mark.parametrize("end", ["end_turn", "EOS", "something_new", None])
@pytest.mark.parametrize(
    ("content", "status", "again"),
    [(GOOD, RowStatus.SUCCEEDED, False), ("no JSON", RowStatus.INVALID_OUTPUT, True)],
)
def test_an_end_like_stop_and_an_unknown_one_leave_it_to_the_answer(end, content, status, again):
    outcome = said(content=content, finish_reason=end)
    assert (outcome.status, outcome.is_retryable) == (status, again)


@pytest.mark.parametrize(
    "fields", [{"refusal": "no"}, *({"content": GOOD, "finish_reason": end} for end in ("content_filter", "sensitive"))]
)
def test_a_refusal_is_final_whatever_was_written_beside_it(fields):
    outcome = said(**fields)
    assert (outcome.status, outcome.values, outcome.is_retryable) == (RowStatus.REFUSED, None, False)
    assert outcome.error


def test_the_servers_own_thinking_goes_before_that_in_the_text():
    assert said(content=f"<think>hm</think>{GOOD}", reasoning="because").reasoning == "because"


CALL = (ToolCall("label", GOOD),)


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ({"tool_calls": CALL, "finish_reason": "tool_calls", "content": "I call it."}, ("a",)),
        ({"tool_calls": CALL, "content": " \n"}, ("a",)),
        ({"tool_calls": CALL, "content": '{"label": "b"}'}, ("b",)),
    ],
)
def test_a_call_of_a_tool_is_the_answer_where_the_model_ends_with_it_or_says_nothing_else(fields, values):
    assert said(**fields).values == values


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503, 529])
def test_what_may_pass_is_asked_again(status):
    assert failed(status).is_retryable


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_what_was_refused_for_what_it_is_is_final(status):
    outcome = failed(status, "some_code")
    assert (outcome.status, outcome.is_retryable) == (RowStatus.FAILED, False)
    assert outcome.error == f"{status} some_code broke"


@pytest.mark.parametrize("status", [None, 0])
@pytest.mark.parametrize(
    ("code", "again"),
    [
        ("server_error", True), (None, True), ("overloaded", True), ("Invalid_Request", False),
        ("context_length_exceeded", False), ("insufficient_quota", False), ("model_not_found", False),
        ("content_policy_violation", False),
    ],
)  # fmt: skip
def test_without_a_status_the_code_decides(status, code, again):
    assert failed(status, code).is_retryable is again


@pytest.mark.parametrize(
    ("code", "status"), [("batch_expired", RowStatus.EXPIRED), ("Batch_Cancelled", RowStatus.CANCELLED)]
)
@pytest.mark.parametrize("http_status", [None, 400, 500])
def test_what_ended_with_its_batch_is_asked_again(http_status, code, status):
    outcome = failed(http_status, code)
    assert (outcome.status, outcome.is_retryable) == (status, True)


def test_an_empty_error_still_says_something():
    assert failed(error="").error == "the reply is empty"


LINES = st.builds(
    ResultLine,
    st.just("c1"),
    st.none() | st.integers(0, 599),
    code=st.none() | st.text(max_size=5),
    error=st.none() | st.text(max_size=5),
    content=st.none() | st.sampled_from(["", " ", GOOD, "x", "<think>hm", "<think>hm</think>x"]),
    refusal=st.sampled_from([None, "", "no"]),
    finish_reason=st.sampled_from([None, "stop", "length", "content_filter", "tool_calls", "abort", "new"]),
    tool_calls=st.sampled_from([(), CALL]),
)


@given(LINES, st.sampled_from([PLAIN, TYPED]))
def test_a_row_has_values_and_no_error_exactly_where_it_succeeded_and_nothing_good_is_asked_again(line, reader):
    outcome = outcome_of(line, reader)
    assert (outcome.error is None) == (outcome.status is RowStatus.SUCCEEDED)
    if outcome.status is RowStatus.SUCCEEDED:
        assert len(outcome.values) == len(reader.fields)
        assert not outcome.is_retryable
    elif outcome.status is not RowStatus.TRUNCATED:
        assert outcome.values is None
