"""Who answers: the emulated model, or a model server behind it. Both return OpenAI's chat completions."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from greennode_emulator.answers import Answer, Choice, answer_request
from greennode_emulator.chat_request import ChatRequest, decode_chat_request
from greennode_emulator.refusals import RefusedError, model_not_found

Reply = dict[str, Any]
Question = tuple[msgspec.Raw, str, int]
"""A body, the id that the answer gets, and its time."""


class Model(Protocol):
    """Answers requests. `lines_a_step`: how many make a short piece of work; `waits`: a single one may take long."""

    lines_a_step: int
    waits: bool

    def replies(self, questions: Iterable[Question]) -> Iterator[Reply | RefusedError]:
        """The answer to each, in order; a refused request has its refusal there."""
        ...

    def chat(self, question: Question) -> Reply:
        """The answer to one; raises RefusedError if it is refused."""
        ...

    def served(self) -> Sequence[str] | None:
        """The models that a batch may name, None if that is found out line by line."""
        ...

    def names(self) -> Sequence[str]:
        """The available models, which may take a call to find out."""
        ...

    def close(self) -> None:
        """Release all resources."""
        ...


class EmulatedModel:
    """Answers like a model's, at no cost."""

    # About 20 ms of work: short enough to stop for a cancel or a shutdown.
    lines_a_step = 1000
    waits = False

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def replies(self, questions: Iterable[Question]) -> Iterator[Reply | RefusedError]:
        """The answer to each, in order."""
        for body, name, created in questions:
            try:
                request = decode_chat_request(body)
                yield chat_reply(request, answer_request(request), name, created)
            except RefusedError as refusal:
                yield refusal

    def chat(self, question: Question) -> Reply:
        """The answer to one."""
        body, name, created = question
        request = decode_chat_request(body)
        if request.model not in self._names:
            raise model_not_found(request.model)
        return chat_reply(request, answer_request(request), name, created)

    def served(self) -> Sequence[str]:
        """The models that a batch may name."""
        return self._names

    def names(self) -> Sequence[str]:
        """The available models."""
        return self._names

    def close(self) -> None:
        """There is nothing to release."""


def chat_reply(request: ChatRequest, answer: Answer, name: str, created: int) -> Reply:
    """An answer as a chat completion."""
    completion_tokens = answer.completion_tokens
    return {
        "id": name,
        "object": "chat.completion",
        "created": created,
        "model": request.model,
        "choices": [
            {
                "index": index,
                "message": _message(choice, f"call_{name.removeprefix('chatcmpl-')}_{index}"),
                "logprobs": None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(answer.choices)
        ],
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": answer.prompt_tokens + completion_tokens,
        },
    }


def _message(choice: Choice, call_id: str) -> Reply:
    message = {"role": "assistant", "content": choice.content, "refusal": None}
    if choice.function is None:
        return message
    function = {"name": choice.function, "arguments": choice.content}
    return {**message, "content": None, "tool_calls": [{"id": call_id, "type": "function", "function": function}]}
