import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.status import BatchStatus, batch_status

WORDS = {
    BatchStatus.VALIDATING: ["validating", "VALIDATING", "queued", "QUEUED", "in_queue", "JOB_STATE_QUEUED", "pending"],
    BatchStatus.IN_PROGRESS: ["in_progress", "IN_PROGRESS", "PROGRESS", "RUNNING", "JOB_STATE_RUNNING", "InProgress"],
    BatchStatus.FINALIZING: ["finalizing", "FINALIZING", "finalising"],
    BatchStatus.COMPLETED: ["completed", "COMPLETED", "SUCCESS", "JOB_STATE_SUCCEEDED", "ended", " Completed "],
    BatchStatus.FAILED: ["failed", "FAILED", "JOB_STATE_FAILED", "error"],
    BatchStatus.EXPIRED: ["expired", "EXPIRED", "TIMEOUT_EXCEEDED", "JOB_STATE_EXPIRED", "timed-out"],
    BatchStatus.CANCELLING: ["cancelling", "canceling", "CANCELLATION_REQUESTED", "JOB_STATE_CANCELLING"],
    BatchStatus.CANCELLED: ["cancelled", "canceled", "CANCELLED", "JOB_STATE_CANCELLED"],
}
KNOWN = [(word, status) for status, words in WORDS.items() for word in words]
ENDED = {BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}


@pytest.mark.parametrize(("word", "status"), KNOWN)
def test_the_words_of_every_known_api_are_understood(word, status):
    assert batch_status(word) is status


@given(
    st.sampled_from(KNOWN),
    st.sampled_from(["", "JOB_STATE_", "job_status_", "BATCH_STATE_", "STATE_"]),
    st.sampled_from([str.lower, str.upper, str.title]),
)
def test_prefix_and_case_do_not_change_what_a_word_means(known, prefix, case):
    word, status = known
    bare = word.strip().removeprefix("JOB_STATE_").replace("InProgress", "in_progress")
    assert batch_status(case(prefix + bare)) is status


@given(st.one_of(st.none(), st.integers(), st.booleans(), st.lists(st.text()), st.text()))
def test_any_value_has_a_status_and_only_known_words_end_a_batch(value):
    status = batch_status(value)
    if status.is_terminal:
        assert isinstance(value, str)
        assert batch_status(value.lower()) is status


@pytest.mark.parametrize("word", ["", "paused", "JOB_STATE_UNSPECIFIED", "deleted", "42", "incompleted", "COMPLETED!"])
def test_an_unknown_word_keeps_waiting(word):
    assert batch_status(word) is BatchStatus.UNKNOWN
    assert not batch_status(word).is_terminal


def test_exactly_the_four_ends_are_terminal():
    assert {status for status in BatchStatus if status.is_terminal} == ENDED


def test_a_word_that_a_profile_explains_is_known_in_any_spelling():
    words = {"PARTIAL": "completed", "done": "in_progress"}
    assert batch_status("partial", words) is BatchStatus.COMPLETED
    assert batch_status("DONE", words) is BatchStatus.IN_PROGRESS
    assert batch_status("failed", words) is BatchStatus.FAILED
