"""Finish reasons of answers -> AnswerEnd."""

import enum
import functools
import re

from greennode_batch.api.fields import plain_word


class AnswerEnd(enum.Enum):
    """How an answer ended, in our few words."""

    STOPPED = "stopped"
    """The model finished by itself, or the server does not say how the answer ended."""
    CALLS = "calls"
    """The model requests calls of tools."""
    CUT = "cut"
    """A limit of tokens cut the answer off."""
    FILTERED = "filtered"
    """A filter stopped the answer."""
    BROKEN = "broken"
    """The server stopped before the answer was complete."""
    UNKNOWN = "unknown"
    """A word of no known API."""


# Words in use by OpenAI, Anthropic, Gemini, Cohere, Mistral, Zhipu, DeepSeek, Bedrock, watsonx, vLLM, SGLang and TGI.
_WORDS: dict[AnswerEnd, str] = {
    AnswerEnd.STOPPED: (
        "stop stopped end_turn eos eos_token end_of_text end_of_turn end_of_sequence stop_sequence stop_token "
        "stop_word stop_string done complete completed finish finished natural normal success succeeded end "
        "null none unspecified"
    ),
    AnswerEnd.CALLS: "tool_calls tool_call tool_use function_calls function_call",
    AnswerEnd.CUT: (
        "length max_tokens max_length max_output model_length token_limit model_context_window_exceeded truncated "
        "incomplete not_finished repetition error_limit"
    ),
    AnswerEnd.FILTERED: (
        "content_filter content_filtered sensitive safety refusal recitation language blocklist prohibited_content "
        "spii guardrail_intervened error_toxic"
    ),
    AnswerEnd.BROKEN: (
        "abort network_error error timeout time_limit rate_limit rate_limit_exceeded insufficient_system_resource "
        "user_cancel cancelled malformed_response malformed_function_call"
    ),
}
# Servers also leave the underscores out.
_BY_WORD = {word.replace("_", ""): end for end, words in _WORDS.items() for word in words.split()}
# What an unlisted word of several parts means by one of them, such as `prompt_blocked`. The first end counts.
_PARTS: dict[AnswerEnd, str] = {
    AnswerEnd.FILTERED: (
        "filter filtered safety policy blocked sensitive moderation moderated prohibited guardrail guardrails toxic "
        "violation refusal refused"
    ),
    AnswerEnd.CUT: "length limit max token tokens truncated window context",
    AnswerEnd.BROKEN: (
        "error abort aborted fail failed failure timeout cancel canceled cancelled network server system internal "
        "overload overloaded unavailable disconnected interrupted exception malformed killed"
    ),
}
_BY_PART = {part: end for end, parts in _PARTS.items() for part in parts.split()}
_PREFIX = re.compile(r"^(?:finish|stop|done)_?(?:reason|type)_")


@functools.lru_cache(maxsize=256)
def answer_end(word: str | None) -> AnswerEnd:
    """How an answer ended, by its `finish_reason`; STOPPED where there is none, UNKNOWN for a word of no known API."""
    plain = _PREFIX.sub("", plain_word(word or "null"))
    if (end := _BY_WORD.get(plain.replace("_", ""))) is not None:
        return end
    parts = {_BY_PART[part] for part in plain.split("_") if part in _BY_PART}
    return next((end for end in _PARTS if end in parts), AnswerEnd.UNKNOWN)
