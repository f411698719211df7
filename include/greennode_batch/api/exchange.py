"""One call, tried until it is answered or given up: no I/O, the same for the sync and the async client.

The client does what `exchange` yields (send, wait) and sends the outcome back; the decision whether a call is
repeated, and which error its failure becomes, is made only here.
"""

import dataclasses
import enum
import random
import re
import time
from collections.abc import Callable, Generator, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from greennode_batch.api.error_body import CODE_FIELDS, decode, describe, is_fine, parse_error, shorten
from greennode_batch.api.fields import pick, text
from greennode_batch.api.retries import MAX_TRIES, error_type, honoured_seconds, next_delay, retry_after_seconds
from greennode_batch.api.uploads import Upload
from greennode_batch.api.wire import WireError
from greennode_batch.errors import AmbiguousError, ApiError, RetryableError

UPLOAD_TRIES = 3
# With these statuses the server refuses a call without reading it.
_OVER_CAPACITY = frozenset({HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_NOT_HERE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
_NOT_SO = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.UNPROCESSABLE_ENTITY})
_ANSWERS = frozenset(
    {"id", "batch_id", "job_id", "task_id", "file_id", "uuid", "choices", "items", "value", "listData", "url"}
)
_WRAPPERS = ("data", "job", "batch", "result", "file")
# Kong, AWS and Azure say it so where a key is missing; of a key that is wrong they say that it is invalid.
_KEY_NOT_SEEN = re.compile(r"\b(?:no|missing|without|provide)\b.*\b(?:key|token|credentials?)\b", re.IGNORECASE)
# As gateways make their own codes from a status: 40901, "B409", "BATCH-40901".
_STATUS_IN_CODE = re.compile(r"(?:[A-Za-z]+[-_.]?)?0*([45]\d\d)(?:\d{2,4})?")


class Repeat(enum.Enum):
    """When the same call may be sent again without a check."""

    SAFE = "safe"
    """Reads, cancels and deletes: as often as needed."""
    UNANSWERED = "unanswered"
    """Uploads: after no reply at all, or a 429. The caller decides about any other reply."""
    NEVER = "never"
    """Creates and chats: they cost money. An unknown outcome is an AmbiguousError."""


class Loss(enum.Enum):
    """Why a call got no reply."""

    NOT_SENT = "not sent"
    """No connection: the server received nothing."""
    NO_REPLY = "no reply"
    """The server may have carried it out."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One HTTP request, sent to a path below the base URL."""

    what: str
    """What it does, for messages: "get batch batch_1"."""
    method: str
    path: str
    deadline_seconds: float
    params: Mapping[str, str | int] = dataclasses.field(default_factory=dict)
    json: Any = None
    upload: Upload | None = None
    """A file to send, as multipart/form-data or its bytes alone; it gets more time, by its size."""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """More headers for this call alone; they replace those of the file, not those of the connection."""
    repeat: Repeat = Repeat.SAFE
    accept: frozenset[int] = frozenset()
    """Statuses outside 2xx that the operation handles itself."""
    at_stake: str = ""
    """What an unknown outcome may have cost, and what to do about it."""
    not_after: float | None = None
    """Epoch seconds after which it must not be sent: another process may have taken over from one that was paused."""
    path_fields: str = ""
    body_fields: str = ""
    """The profile fields that decide its path and its body, for messages."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """A complete reply. Header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """2xx."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def json(self) -> Any:
        """The body as JSON, None if it is not JSON."""
        return decode(self.body)


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """No reply, or an incomplete one."""

    loss: Loss
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """Pause for so many seconds; `reason` is for the log."""

    seconds: float
    reason: str


T = TypeVar("T")
# An operation raises WireError for a reply that it cannot read; `run` turns it into an ApiError.
Operation = Generator[Call, Reply, T]
Steps = Generator[Call | Wait, Reply | Lost | None, T]


def run(
    operation: Operation[T],
    redact: Callable[[str], str],
    *,
    max_tries: int = MAX_TRIES,
    rng: Callable[[], float] = random.random,
    now: Callable[[], float] = time.time,
) -> Steps[T]:
    """Run an operation through all of its calls, each tried up to the limit; returns the operation's result."""
    call = next(operation)
    while True:
        reply = yield from exchange(call, redact, max_tries=max_tries, rng=rng, now=now)
        try:
            call = operation.send(reply)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # typeshed has Any for the value of StopIteration
        except WireError as complaint:
            error = unreadable(call, reply, str(complaint), redact)
        else:
            continue
        raise error


def drive(steps: Steps[T], *, send: Callable[[Call], Reply | Lost], wait: Callable[[Wait], None]) -> T:
    """Run the steps without asyncio: send each Call, wait for each Wait; returns the operation's result."""
    outcome: Reply | Lost | None = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # typeshed has Any for the value of StopIteration
        if isinstance(step, Wait):
            wait(step)
            outcome = None
        else:
            outcome = send(step)


def exchange(
    call: Call,
    redact: Callable[[str], str],
    *,
    max_tries: int = MAX_TRIES,
    rng: Callable[[], float] = random.random,
    now: Callable[[], float] = time.time,
) -> Steps[Reply]:
    """Send `call` until there is a good reply, and return it; a failure is raised as an ApiError."""
    attempt = 0
    while True:
        attempt += 1
        outcome = yield call
        if isinstance(outcome, Reply) and is_good(outcome, call):
            return outcome
        if outcome is None:
            raise TypeError("a Call is answered with a Reply or with Lost")
        error = error_of(outcome, call, redact, now=now())
        delay = next_delay(attempt, error, rng=rng, max_tries=min(max_tries, _tries(call, outcome)))
        if delay is None:
            raise error
        yield Wait(delay, str(error))


def is_good(reply: Reply, call: Call) -> bool:
    """Whether a reply is good: a 2xx that is not an error in disguise, or a status that the operation handles."""
    return reply.status in call.accept or (reply.is_success and _disguised(reply) is None)


def error_of(outcome: Reply | Lost, call: Call, redact: Callable[[str], str], *, now: float) -> ApiError:
    """The error for a failed try of `call`."""
    if isinstance(outcome, Lost):
        return _lost_error(outcome, call, redact)
    status = _disguised(outcome) or outcome.status
    message, code, request_id = parse_error(status, outcome.headers, outcome.body)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        message = f"the server redirects to {_host_of(outcome.headers.get('location', ''))}: set that as base URL"
    if status == HTTPStatus.NOT_FOUND and outcome.json() is None:
        message += " (is the base URL complete, with /v1?)"
    kind: type[ApiError] = RetryableError if status < HTTPStatus.MULTIPLE_CHOICES else error_type(status, message, code)
    way_out = _way_out(call, status, message)
    words = f"{call.what}: HTTP {outcome.status}: {message.rstrip('.') if way_out else message}{way_out}"
    if call.repeat is Repeat.NEVER and kind is RetryableError and status not in _OVER_CAPACITY:
        # A 5xx may come from a gateway that had already
        # passed the call on, a 408 or 409 from a server that has it already: check before it is sent again.
        kind, words = AmbiguousError, f"{words}. {call.at_stake}"
    return kind(
        redact(words),
        status=outcome.status,
        code=None if code is None else redact(code),
        request_id=None if request_id is None else redact(shorten(request_id, 100)),
        retry_after=honoured_seconds(retry_after_seconds(status, outcome.headers, now=now)),
    )


def _way_out(call: Call, status: int, message: str) -> str:
    """The profile fields that may be wrong if a server refuses a call for its form."""
    if status == HTTPStatus.UNAUTHORIZED and _KEY_NOT_SEEN.search(message):
        return ". If this API expects the key in another header, set key_header in the connection's profile"
    if status in _NOT_HERE and call.path_fields:
        return f". If this API uses another path, set {call.path_fields} in the connection's profile"
    if status in _NOT_SO and call.body_fields:
        return f". If this API expects another form, set {call.body_fields} in the connection's profile"
    return ""


def status_of(reply: Reply) -> int:
    """The status that a reply stands for: of an error that came with a 2xx, the one that it names, if it does."""
    return _disguised(reply) or reply.status


def is_refusal(reply: Reply) -> bool:
    """Whether a 2xx is an error in disguise."""
    return _disguised(reply) is not None


def unreadable(call: Call, reply: Reply, complaint: str, redact: Callable[[str], str]) -> ApiError:
    """The error for a 2xx that does not hold what was requested."""
    words = f"{call.what}: HTTP {reply.status}: {complaint}"
    if call.repeat is Repeat.NEVER:
        return AmbiguousError(redact(f"{words}. {call.at_stake}"), status=reply.status)
    return RetryableError(redact(words), status=reply.status)


def _lost_error(lost: Lost, call: Call, redact: Callable[[str], str]) -> ApiError:
    if lost.loss is Loss.NO_REPLY and call.repeat is Repeat.NEVER:
        return AmbiguousError(redact(f"{call.what}: no reply ({lost.reason}). {call.at_stake}"))
    return RetryableError(redact(f"{call.what}: {lost.loss.value} ({lost.reason})"))


def _tries(call: Call, outcome: Reply | Lost) -> int:
    match call.repeat:
        case Repeat.SAFE:
            return MAX_TRIES
        case Repeat.UNANSWERED:
            return UPLOAD_TRIES if isinstance(outcome, Lost) or outcome.status == HTTPStatus.TOO_MANY_REQUESTS else 1
        case Repeat.NEVER:
            return 1


def _disguised(reply: Reply) -> int | None:
    """The status of an error inside a 2xx; the 2xx itself if the error names none. None: no error.

    An object counts as an error if it has neither an id nor a list but describes an error: a batch may well have an
    `error` field.
    """
    data = reply.json() if reply.is_success else None
    if not isinstance(data, dict) or not _speaks_of_an_error(data):
        return None
    sources = [source for source in (data.get("error"), data) if isinstance(source, dict)]
    codes = [text(pick(source, name)) or "" for source in sources for name in (*CODE_FIELDS, "status")]
    found = next(filter(None, map(_STATUS_IN_CODE.fullmatch, codes)), None)
    return reply.status if found is None else int(found[1])


def _speaks_of_an_error(data: dict[str, Any]) -> bool:
    if not data.keys().isdisjoint(_ANSWERS) or data.get("object", "error") != "error":
        return False
    if any(isinstance(data.get(name), dict | list) for name in _WRAPPERS):
        return False
    if describe(data.get("error"))[0] is not None or data.get("success") is False:
        return True
    code, (message, _) = text(pick(data, *CODE_FIELDS)), describe(data)
    return code is not None and message is not None and not is_fine(message, code)


def _host_of(location: str) -> str:
    return shorten(location.split("?", 1)[0], 200) or "nowhere"
