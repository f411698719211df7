"""Faults of calls: one endpoint's next calls go wrong. The endpoint is named as in `endpoints.Endpoint`."""

from typing import Literal

import msgspec

from greennode_emulator.endpoints import Endpoint
from greennode_emulator.error_bodies import Shape
from greennode_emulator.faults.fault import Fault, HttpStatus, Positive, Seconds, Share, Whole


class CallFault(Fault, frozen=True, kw_only=True):
    """A fault of an endpoint, which lets the first `skip` calls pass."""

    endpoint: Endpoint
    skip: Whole = 0


class Refusal(CallFault, frozen=True, kw_only=True):
    """The reply of those faults that answer with a status of their own; `shape` is that of the body."""

    status: HttpStatus = 503
    shape: Shape = "dialect"
    message: str = "The service is unavailable."
    code: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class Status(Refusal, frozen=True, kw_only=True):
    """Nothing is done; the reply is this status, which may well be 200, with an error in the body."""


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


class Truncated(CallFault, frozen=True, kw_only=True):
    """The body ends in the middle of a line.

    `length`: "right", the Content-Length is that of the part; "lying", it is that of the whole and the connection
    closes early; "none", the part is sent in chunks that end well.
    """

    fraction: Share = 0.5
    length: Literal["right", "lying", "none"] = "lying"


class Gzip(CallFault, frozen=True, kw_only=True):
    """The body is compressed though nobody asked; `declared`: a Content-Encoding says so."""

    declared: bool = True


class PartialList(CallFault, frozen=True, kw_only=True):
    """A list that shows nothing, or its first page whatever page is asked for."""

    show: Literal["nothing", "first_page"] = "nothing"


class ContentUrl(CallFault, frozen=True, kw_only=True):
    """In place of a file's bytes, JSON that says where they are; `elsewhere`: at another origin."""

    endpoint: Endpoint = Endpoint.FILE_CONTENT
    elsewhere: bool = True


class Headers(CallFault, frozen=True, kw_only=True):
    """The reply is as always, with these headers added."""

    headers: dict[str, str]


AnyCallFault = (
    Status | Html | ErrorAfter | Timeout | ResetBefore | ResetAfter | Slow | Truncated | Gzip | PartialList
    | ContentUrl | Headers
)  # fmt: skip
