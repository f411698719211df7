"""What a line of a result file says: ResultLine, or Anomaly if it belongs to no request."""

from typing import Literal

import msgspec

AnomalyKind = Literal["blank", "too_long", "not_json", "not_object", "no_custom_id", "file_error"]


class CutLine(bytes):
    """The beginning of a line that is too long to read."""


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A tool call in an answer. `arguments` is JSON, unless the model wrote something else."""

    name: str
    arguments: str


class ResultLine(msgspec.Struct, frozen=True, gc=False):
    """One request's outcome.

    `error` is None exactly if an answer came: the text in `content` (which may be "" or None), the refusal in
    `refusal`, the thinking in `reasoning`, tool calls in `tool_calls`. `status_code` is None if the line has none, and
    0 if the API says 0. Token counts are 0 if the API gives none, or an invalid number. `created` is in epoch
    seconds. `is_wordless`: the error text is ours, because the line holds neither an answer nor an error that this
    client can find.
    """

    custom_id: str
    status_code: int | None = None
    request_id: str | None = None
    code: str | None = None
    error: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    created: float | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    is_wordless: bool = False


class Anomaly(msgspec.Struct, frozen=True, gc=False):
    """A line that belongs to no request; `text` is its beginning, or for `file_error` the API's message."""

    kind: AnomalyKind
    text: str
