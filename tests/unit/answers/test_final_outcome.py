import pyarrow as pa
import pytest

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.answers.final_outcome import is_final
from greennode_batch.answers.outcome import outcome_of
from greennode_batch.api.results.result_line import ResultLine
from greennode_batch.state.row_status import RowStatus

READER = AnswerReader(None)


def finality(status, error=None, custom_id="c"):
    names = ("status", "error", "custom_id")
    (made,) = is_final(pa.table([[status], pa.array([error], pa.string()), [custom_id]], names=names)).to_pylist()
    return made


def finality_of(**line):
    outcome = outcome_of(ResultLine("c", **line), READER)
    return finality(outcome.status.value, outcome.error)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_is_rejected_for_what_it_asks_is_final(status):
    assert finality_of(status_code=status, error="no")
    assert finality_of(status_code=status, code="invalid_request_error", error="the prompt has 5000 tokens")
    assert finality_of(status_code=status, code="", error="")


@pytest.mark.parametrize("status", [0, None, 401, 402, 403, 404, 408, 409, 410, 425, 429, 499, 500, 503, 4000])
def test_what_somebody_or_time_may_put_right_is_not_final(status):
    assert not finality_of(status_code=status, code="a_code", error="no, 400 times")


@pytest.mark.parametrize("code", ["insufficient_quota", "Arrearage", "billing_not_active"])
def test_a_rejection_for_the_account_is_not_final_whatever_status_it_has(code):
    assert not finality_of(status_code=400, code=code, error="Access denied")
    assert not finality_of(status_code=400, error="Your credit balance is too low")


def test_a_code_tells_where_the_server_gives_no_status():
    assert finality_of(code="context_length_exceeded", error="This model has 8192 tokens")
    assert finality_of(code="string_too_long", error="no")
    assert not finality_of(code="model_not_found", error="context_length")
    assert not finality_of(code="invalid_api_key", error="no")
    assert not finality_of(status_code=429, code="tokens_too_large", error="later")


def test_a_refusal_and_an_answer_that_was_cut_are_final():
    assert finality_of(refusal="I will not")
    assert finality_of(content="", finish_reason="content_filter")
    assert finality_of(content="half an", finish_reason="length")
    assert finality_of(content="<think>hm", finish_reason="length")
    assert not finality_of(content="", finish_reason="stop")
    assert not finality_of(content="good", finish_reason="stop")


def test_a_row_that_was_not_sent_is_final_unless_the_budget_stopped_it():
    assert finality("unsent", "the prompt is empty", None)
    assert not finality("unsent", "over budget (max_cost 1); attempt 1: invalid_output", "c")


def test_no_other_status_is_final_by_itself():
    final = {status for status in RowStatus if finality(status.value)}
    assert final == {RowStatus.REFUSED, RowStatus.TRUNCATED}
