"""Call faults: the next calls of one endpoint go wrong. The endpoint is named as in `endpoints.Endpoint`."""

from typing import Annotated, Literal

import msgspec

from greennode_emulator.endpoints import Endpoint
from greennode_emulator.error_bodies import Shape
from greennode_emulator.faults.fault import Fault, HttpStatus, Positive, Seconds, Share, Whole

# Practically for ever, and far from overflow.
_LONGEST = 24 * 3600.0


class CallFault(Fault, frozen=True, kw_only=True):
    """A fault of an endpoint, which lets the first `skip` calls pass."""

    endpoint: Endpoint
    skip: Whole = 0

    def at(self, strike: int) -> "CallFault":
        """What happens to the struck call after so many others."""
        _ = strike
        return self


class Refusal(CallFault, frozen=True, kw_only=True):
    """The reply of faults that answer with a status; `shape`: the form of the body."""

    status: HttpStatus = 503
    shape: Shape = "dialect"
    message: str = "The service is unavailable."
    code: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class Status(Refusal, frozen=True, kw_only=True):
    """Nothing is done; the reply has this status, which may be 200 with an error in the body."""


class Storm(Refusal, frozen=True, kw_only=True):
    """From its first strike on, every call is refused for so many seconds."""

    seconds: Seconds
    status: HttpStatus = 429
    message: str = "Too many requests."
    code: str | None = "rate_limit_exceeded"


class Html(Refusal, frozen=True, kw_only=True):
    """Nothing is done; the reply is a proxy's HTML page."""

    status: HttpStatus = 502
    shape: Shape = "html"
    message: str = "Bad Gateway"


class ErrorAfter(Refusal, frozen=True, kw_only=True):
    """The request is carried out in full, then answered with an error."""

    status: HttpStatus = 502
    shape: Shape = "html"
    message: str = "Bad Gateway"


class Timeout(CallFault, frozen=True, kw_only=True):
    """The request is accepted and never answered, until the client gives up; `done`: it is carried out first."""

    done: bool = False


class ResetBefore(CallFault, frozen=True, kw_only=True):
    """The connection is reset and nothing is done."""


class ResetAfter(CallFault, frozen=True, kw_only=True):
    """The request is carried out in full, then the connection is reset without a byte of reply."""


class Slow(CallFault, frozen=True, kw_only=True):
    """The answer comes after so many seconds, and then at so many bytes a second."""

    seconds: Seconds = 0
    bytes_per_second: Positive | None = None


class Slowing(CallFault, frozen=True, kw_only=True):
    """The answer comes after so many seconds, and each further one `factor` times later.

    After `stop_after` calls (null: never) the server answers no more calls.
    """

    count: Positive | None = None
    seconds: Seconds = 0.1
    factor: Annotated[float, msgspec.Meta(ge=1)] = 1.5
    stop_after: Whole | None = None

    def at(self, strike: int) -> CallFault:
        """The delay, or none at all, of this call."""
        if self.stop_after is not None and strike >= self.stop_after:
            return Timeout(endpoint=self.endpoint)
        return Slow(endpoint=self.endpoint, seconds=min(self.seconds * self.factor ** min(strike, 100), _LONGEST))


class Stalled(CallFault, frozen=True, kw_only=True):
    """After a part of the body nothing more arrives, and the connection stays open until the client disconnects."""

    fraction: Share = 0.5


class Truncated(CallFault, frozen=True, kw_only=True):
    """The body ends in the middle of a line.

    `length`: "right", the Content-Length is that of the part; "lying", it is that of the whole and the connection
    closes early; "none", the part is sent in chunks that end correctly.
    """

    fraction: Share = 0.5
    length: Literal["right", "lying", "none"] = "lying"


class Gzip(CallFault, frozen=True, kw_only=True):
    """The body is compressed without being asked; `declared`: a Content-Encoding says so."""

    declared: bool = True


class PartialList(CallFault, frozen=True, kw_only=True):
    """A list that shows nothing, or its first page whatever page is requested.

    `unless_header`: a call with this header gets the real list.
    """

    show: Literal["nothing", "first_page"] = "nothing"
    unless_header: str | None = None


class ContentUrl(CallFault, frozen=True, kw_only=True):
    """Instead of a file's bytes, JSON with their URL; `elsewhere`: at another origin."""

    endpoint: Endpoint = Endpoint.FILE_CONTENT
    elsewhere: bool = True


class ChatAnswer(CallFault, frozen=True, kw_only=True):
    """The answer of a live request does not fit the request."""

    endpoint: Endpoint = Endpoint.CHAT
    answer: Literal["empty", "cut_off", "content_filter", "wrong_schema"] = "empty"


class Headers(CallFault, frozen=True, kw_only=True):
    """The reply is the usual one, with these headers added."""

    headers: dict[str, str]


AnyCallFault = (
    Status | Html | ErrorAfter | Timeout | ResetBefore | ResetAfter | Slow | Truncated | Gzip | PartialList
    | ContentUrl | Headers | Storm | Slowing | Stalled | ChatAnswer
)  # fmt: skip
