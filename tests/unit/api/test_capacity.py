import pytest

from greennode_batch.api.capacity import MAX_PAUSE_SECONDS, failed_over_capacity, is_over_capacity, pause_seconds
from greennode_batch.api.wire import Batch, BatchStatus, Counts
from greennode_batch.errors import CreditError, RejectedError, RetryableError


def failed(code="", message="", **changes):
    errors, codes = ((message,) if message else ()), ((code,) if code else ())
    return Batch(**{"id": "b", "status": BatchStatus.FAILED, "errors": errors, "error_codes": codes, **changes})


@pytest.mark.parametrize(
    ("batch", "verdict"),
    [
        (failed("token_limit_exceeded"), True),
        (failed(message="Enqueued token limit reached. Please try again once some batches have been completed."), True),
        (failed(message="The cluster is at capacity"), True),
        (failed("invalid_json_line", "line 3 is not JSON"), False),
        (failed("model_not_found", "The model does not exist"), False),
        (failed(), False),
        (failed("token_limit_exceeded", output_file_id="file-1"), False),
        (failed("token_limit_exceeded", counts=Counts(10, 4, 0)), False),
        (failed("token_limit_exceeded", status=BatchStatus.EXPIRED), False),
    ],
)
def test_only_a_batch_that_failed_untouched_and_for_load_may_be_sent_again(batch, verdict):
    assert failed_over_capacity(batch) is verdict


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (RetryableError("slow down", status=429), True),
        (RejectedError("Too many batches are enqueued", status=400), True),
        (RejectedError("too many concurrent batches", status=403), True),
        (RejectedError("limit", status=400, code="token_limit_exceeded"), True),
        (CreditError("insufficient_quota", status=429), False),
        (RejectedError("no such model", status=400, code="invalid"), False),
    ],
)
def test_only_a_refusal_for_load_is_waited_out(error, verdict):
    assert is_over_capacity(error) is verdict


def test_pauses_grow_to_a_limit_and_are_spread():
    assert [pause_seconds(n, rng=lambda: 1.0) for n in (1, 2, 3)] == [15, 30, 60]
    assert pause_seconds(1, rng=lambda: 0.0) == 7.5
    assert pause_seconds(1_000, rng=lambda: 1.0) == MAX_PAUSE_SECONDS
