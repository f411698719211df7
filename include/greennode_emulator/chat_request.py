"""The body of a chat completion: the fields that count, and what makes it invalid."""

import re
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from greennode_emulator.refusals import RefusedError, bad_body

# The ranges are those of OpenAI's reference.
Tokens = Annotated[int, msgspec.Meta(ge=1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_FORMATS = frozenset({"text", "json_object", "json_schema"})
_TOOL_CHOICES = ("none", "auto", "required")
_REASONING = re.compile(r"(?<![a-z0-9])r1(?![a-z0-9])|think|reason|greenmind", re.IGNORECASE)


class ChatRequest(msgspec.Struct, kw_only=True):
    """The parameters that shape an answer; others are accepted and have no effect."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    seed: int | None = None
    stream: bool | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None

    @property
    def callable_tools(self) -> list[dict[str, Any]]:
        """The functions of which one must be called; none if the model may answer with text."""
        tools = [tool["function"] for tool in self.tools or ()]
        if isinstance(self.tool_choice, dict):
            wanted = self.tool_choice["function"]["name"]
            return [tool for tool in tools if tool["name"] == wanted]
        return tools if self.tool_choice == "required" else []

    @property
    def token_limit(self) -> int | None:
        """The most tokens that one choice may have."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def thinks(self) -> bool:
        """Whether the model's name says that it shows its reasoning."""
        return _thinks(self.model)

    @property
    def wraps_answer(self) -> bool:
        """Whether the model also puts its answer into `<answer>`, as GreenMind does."""
        return "greenmind" in self.model.lower()

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """The schema that the answer must satisfy; an empty one for a free JSON object."""
        if self.response_format is None or self.response_format["type"] == "text":
            return None
        if self.response_format["type"] == "json_object":
            return {}
        schema: dict[str, Any] = self.response_format["json_schema"]["schema"]
        return schema

    def check(self) -> "ChatRequest":
        """Refuse what the types alone allow."""
        for index, message in enumerate(self.messages):
            if message.get("role") not in _ROLES:
                _refuse(f"messages[{index}].role", f"one of {sorted(_ROLES)}", message.get("role"))
            content = message.get("content")
            if not isinstance(content, str | list) and not (content is None and "tool_calls" in message):
                _refuse(f"messages[{index}].content", "a string or a list of parts", content)
        if self.tools is not None or self.tool_choice is not None:
            self._check_tools()
        if self.stream:
            _refuse("stream", "false: answers are not streamed here", self.stream)
        if self.response_format is not None:
            kind = self.response_format.get("type")
            if kind not in _FORMATS:
                _refuse("response_format.type", f"one of {sorted(_FORMATS)}", kind)
            holder = self.response_format.get("json_schema")
            if kind == "json_schema" and not (isinstance(holder, dict) and isinstance(holder.get("schema"), dict)):
                _refuse("response_format.json_schema.schema", "an object", holder)
        return self

    def _check_tools(self) -> None:
        for index, tool in enumerate(self.tools or ()):
            function = tool.get("function")
            if tool.get("type") != "function" or not isinstance(function, dict):
                _refuse(f"tools[{index}]", "an object of type function with its function", tool)
            elif not isinstance(function.get("name"), str) or not function["name"]:
                _refuse(f"tools[{index}].function.name", "a name", function.get("name"))
            elif not isinstance(function.get("parameters", {}), dict):
                _refuse(f"tools[{index}].function.parameters", "a JSON schema", function["parameters"])
        choice = self.tool_choice
        if choice is not None and not self.tools:
            _refuse("tool_choice", "nothing, where there are no tools", choice)
        names = [tool["function"]["name"] for tool in self.tools or ()]
        named = [{"type": "function", "function": {"name": name}} for name in names]
        if choice not in [None, *_TOOL_CHOICES, *named]:
            _refuse("tool_choice", f"one of {list(_TOOL_CHOICES)} or one of the functions {names}", choice)


@lru_cache(maxsize=64)
def _thinks(model: str) -> bool:
    return _REASONING.search(model) is not None


def _refuse(param: str, expected: str, got: Any) -> None:
    shown = repr(got)[:80]
    message = f"Invalid value for '{param}': expected {expected}, got {shown}."
    raise RefusedError(400, message, code="invalid_value", param=param)


_decoder = msgspec.json.Decoder(ChatRequest)


def decode_chat_request(body: msgspec.Raw | bytes) -> ChatRequest:
    """The checked request, from JSON."""
    try:
        return _decoder.decode(body).check()
    except msgspec.DecodeError as error:
        raise bad_body(error) from error


def convert_chat_request(body: dict[str, Any]) -> ChatRequest:
    """The checked request, from a decoded body."""
    try:
        return msgspec.convert(body, ChatRequest).check()
    except msgspec.ValidationError as error:
        raise bad_body(error) from error
