import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.finish_reason import AnswerEnd, answer_end

ENDS = {
    AnswerEnd.STOPPED: ["stop", "end_turn", "eos", "stop_sequence", "STOP", "EOS_TOKEN", "complete", "null", "", None],
    AnswerEnd.CALLS: ["tool_calls", "function_call", "tool_use", "TOOL_CALL", "toolCalls"],
    AnswerEnd.CUT: [
        "length", "max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded", "max_output_tokens",
        "MaxTokens", "maxtokens", "context_length_exceeded", "ERROR_LIMIT", "not_finished",
    ],
    AnswerEnd.FILTERED: [
        "content_filter", "content-filter", "sensitive", "SAFETY", "refusal", "PROHIBITED_CONTENT", "RECITATION",
        "guardrail_intervened", "output_moderation", "ERROR_TOXIC", "IMAGE_SAFETY",
    ],
    AnswerEnd.BROKEN: [
        "abort", "aborted", "network_error", "error", "timeout", "insufficient_system_resource", "time_limit",
        "internal_server_error", "rate_limit_exceeded", "USER_CANCEL", "MALFORMED_FUNCTION_CALL",
    ],
    AnswerEnd.UNKNOWN: ["other", "something_new", "42", "xyz"],
}  # fmt: skip
KNOWN = [(word, end) for end, words in ENDS.items() for word in words]


@pytest.mark.parametrize(("word", "end"), KNOWN)
def test_the_words_of_every_known_api_are_understood(word, end):
    assert answer_end(word) is end


@given(
    st.sampled_from([(word, end) for word, end in KNOWN if word and "_" in word]),
    st.sampled_from([str.lower, str.upper, str.title]),
    st.sampled_from(["_", "-", " ", "."]),
    st.sampled_from(["", "FINISH_REASON_", "stop_reason_"]),
)
def test_case_separators_and_prefixes_do_not_change_what_a_word_means(known, case, separator, prefix):
    word, end = known
    assert answer_end(f" {prefix}{case(word).replace('_', separator)} ") is end


@given(st.text())
def test_any_word_is_some_end(word):
    assert isinstance(answer_end(word), AnswerEnd)
