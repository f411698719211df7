"""The answers of the emulated model: a pure function of the request body.

Tests call `answer_for(body)` to know which answer a row must have.
"""

from hashlib import blake2b
from typing import Any

import msgspec

from greennode_emulator.answer_words import paragraph, sentence
from greennode_emulator.chat_request import ChatRequest, convert_chat_request
from greennode_emulator.dice import Dice
from greennode_emulator.refusals import RefusedError
from greennode_emulator.scalars import UnsatisfiableError
from greennode_emulator.schema_values import value_for
from greennode_emulator.tokens import count_prompt_tokens, count_tokens, cut

_encoder = msgspec.json.Encoder(order="deterministic")


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer; `finish_reason` is "stop", "tool_calls", or "length" if the text was cut.

    `function` is the name of the tool that is called; `content` is then its arguments, as JSON.
    """

    content: str
    finish_reason: str
    tokens: int
    function: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer to one request. `fingerprint` is the short hash that its texts carry."""

    fingerprint: str
    choices: tuple[Choice, ...]
    prompt_tokens: int

    @property
    def content(self) -> str:
        """The text of the first choice."""
        return self.choices[0].content

    @property
    def completion_tokens(self) -> int:
        """The tokens of all choices."""
        return sum([choice.tokens for choice in self.choices])


def answer_for(body: dict[str, Any]) -> Answer:
    """The answer to a chat completion body; raises RefusedError (400) for an invalid one."""
    return answer_request(convert_chat_request(body))


def answer_request(request: ChatRequest) -> Answer:
    """The answer to a checked request. Limits on its length only cut it; they do not change it otherwise."""
    messages = _encoder.encode(request.messages)
    fingerprint = blake2b(messages, digest_size=4).hexdigest()
    shaping = _encoder.encode((request.model, request.response_format, request.temperature, request.seed))
    seed = blake2b(messages + shaping, digest_size=16).digest()
    return Answer(
        fingerprint=fingerprint,
        choices=tuple([_choice(request, fingerprint, Dice(seed + bytes([index]))) for index in range(request.n or 1)]),
        prompt_tokens=count_prompt_tokens(request.messages),
    )


def _choice(request: ChatRequest, fingerprint: str, dice: Dice) -> Choice:
    if not request.callable_tools:
        return _cut_choice(_content(request, fingerprint, dice), request.token_limit)
    tool = dice.pick(request.callable_tools)
    try:
        arguments = msgspec.json.encode(value_for({"type": "object", **tool.get("parameters", {})}, dice)).decode()
    except UnsatisfiableError as error:
        message = f"Invalid schema for function {tool['name']!r}: {error}."
        raise RefusedError(400, message, code="invalid_value", param="tools.function.parameters") from error
    choice = msgspec.structs.replace(_cut_choice(arguments, request.token_limit), function=tool["name"])
    return choice if choice.finish_reason == "length" else msgspec.structs.replace(choice, finish_reason="tool_calls")


def _content(request: ChatRequest, fingerprint: str, dice: Dice) -> str:
    schema = request.json_schema
    if schema is None:
        content = f"[{fingerprint}] {paragraph(dice)}"
    elif not schema:
        content = msgspec.json.encode({"id": fingerprint, "summary": sentence(dice)}).decode()
    else:
        try:
            content = msgspec.json.encode(value_for(schema, dice)).decode()
        except UnsatisfiableError as error:
            message = f"Invalid schema for response_format: {error}."
            raise RefusedError(
                400, message, code="invalid_value", param="response_format.json_schema.schema"
            ) from error
    if request.wraps_answer:
        content = f"<answer>{content}</answer>"
    if request.thinks:
        content = f"<think>\n{paragraph(dice)}\n</think>\n\n{content}"
    return content


def _cut_choice(content: str, max_tokens: int | None) -> Choice:
    tokens = count_tokens(content)
    if max_tokens is None or tokens <= max_tokens:
        return Choice(content=content, finish_reason="stop", tokens=tokens)
    return Choice(content=cut(content, max_tokens), finish_reason="length", tokens=max_tokens)
