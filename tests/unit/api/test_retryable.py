import pytest

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.answers.outcome import outcome_of
from greennode_batch.api.results.result_line import ResultLine
from greennode_batch.api.retries import error_type
from greennode_batch.api.retryable import is_retryable
from greennode_batch.errors import RetryableError


@pytest.mark.parametrize("status", range(405, 600))
def test_a_reply_and_a_line_of_one_status_are_retried_alike(status):
    worth_it = status in {408, 409, 425, 429} or status >= 500
    assert is_retryable(status) is worth_it
    if status != 410:
        assert issubclass(error_type(status, "", None), RetryableError) is worth_it
    line = ResultLine(custom_id="a", status_code=status, error="no")
    assert outcome_of(line, AnswerReader(None)).is_retryable is worth_it
