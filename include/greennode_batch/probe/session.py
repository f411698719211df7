"""One call at a time: recorded, bounded in cost; a server's answer is an Answer, never an exception."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
import zlib
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx
from upath import UPath

from greennode_batch.api.bounds import Gunzip
from greennode_batch.api.connection import Connection, stream_reply
from greennode_batch.api.error_body import parse_error, shorten
from greennode_batch.api.exchange import Call, Lost, Operation, Reply, drive, is_refusal, run, status_of
from greennode_batch.api.network import Deadline, bounded, tls_context
from greennode_batch.api.paging import Item, Pager
from greennode_batch.api.profile import ApiProfile, route
from greennode_batch.api.protocol import Operations
from greennode_batch.api.wire import Page, RemoteFile, reply_object
from greennode_batch.errors import ApiError, AuthError, CreditError, GreenNodeError
from greennode_batch.probe import variants
from greennode_batch.probe.recorder import Recorder
from greennode_batch.probe.state import Role, State
from greennode_batch.probe.tiny_requests import tiny_lines

T = TypeVar("T")

_MAX_TRIES = 2
_MAX_PAUSE_SECONDS = 20.0
_MAX_LOST_IN_A_ROW = 4
_GZIP_MAGIC = b"\x1f\x8b"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What a server says of a key that it has seen.
_KEY_IS_WRONG = re.compile(r"incorrect|expired|revoked", re.IGNORECASE)
_LIMIT_HEADER = re.compile(r"limit|retry-after|quota", re.IGNORECASE)
_REQUEST_HEADER = re.compile(r"request-?id|trace-?id|correlation|cf-ray", re.IGNORECASE)
_LIMIT_WORDS = re.compile(
    r"\d.*\b(?:limit|maximum|at most|exceed|up to|less than|between)|(?:limit|max).*\d", re.IGNORECASE
)


def _unpacked(body: bytes) -> bytes:
    """The same bytes; decompressed if a server compresses them and does not say so."""
    if not body.startswith(_GZIP_MAGIC):
        return body
    with contextlib.suppress(zlib.error):
        return b"".join(Gunzip().unpack(body))
    return body


class ProbeEndedError(GreenNodeError):
    """Nothing more can be found out; the message says why."""


class _KeyRefusedError(ProbeEndedError):
    """The first call was refused for its key."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer(Generic[T]):
    """The outcome of a call: `value` if it worked, `error` if not. `file` holds the exchange."""

    value: T | None = None
    error: ApiError | None = None
    reply: Reply | None = None
    file: str = ""

    @property
    def ok(self) -> bool:
        """Whether the server did what was requested."""
        return self.error is None

    @property
    def status(self) -> int | None:
        """The status that the reply stands for, None without one."""
        return None if self.reply is None else status_of(self.reply)

    @property
    def json(self) -> Any:
        """The reply as JSON, None if it is not JSON."""
        return None if self.reply is None else self.reply.json()

    @property
    def json_object(self) -> dict[str, Any]:
        """The object with an id in the reply, without its wrappers; empty if there is none."""
        found = reply_object(self.json)
        return found if found is not None else self.json if isinstance(self.json, dict) else {}

    @property
    def says(self) -> str:
        """The answer in words: the API's message, or why there was no reply."""
        if self.reply is None:
            return "no reply" if self.error is None else str(self.error)
        if self.reply.is_success and self.ok:
            return f"HTTP {self.reply.status}"
        message = parse_error(self.reply.status, self.reply.headers, self.reply.body)[0].rstrip(". ")
        page = " with an HTML page" if "text/html" in self.reply.headers.get("content-type", "") else ""
        return f"HTTP {self.reply.status}{page}: {message}"

    @property
    def not_there(self) -> bool:
        """Whether the path (or the method on it) does not exist."""
        return self.status in {404, 405, 501}

    @property
    def is_refusal(self) -> bool:
        """Whether an error came with a 2xx: it may be a refusal, and it may be of a gateway that gave up waiting."""
        return self.reply is not None and is_refusal(self.reply)

    @property
    def is_unread(self) -> bool:
        """Whether the server did what was asked, and the reply could not be read."""
        return self.error is not None and self.reply is not None and self.reply.is_success and not self.is_refusal

    @property
    def about_the_account(self) -> bool:
        """Whether another form of the call would be refused as well."""
        return isinstance(self.error, AuthError | CreditError) or self.reply is None


@dataclasses.dataclass(kw_only=True)
class Session:
    """Sends operations with a connection, into a state and a folder."""

    connection: Connection
    state: State
    folder: UPath
    transport: httpx.BaseTransport | None
    sleep: Callable[[float], None]
    now: Callable[[], float]
    save: Callable[[], None]
    wait_seconds: float
    keep: bool
    progress: Callable[[str, int, int | None], None]

    def __post_init__(self) -> None:
        """Begin."""
        self.recorder = Recorder(self.folder, self.connection.key)
        self._http = bounded(httpx.Client(transport=self.transport, verify=tls_context()), self.connection.reach)
        self._lost_in_a_row = 0
        self._file = ""
        self._url = httpx.URL(self.connection.base_url)
        self._reply: Reply | None = None
        if "key_header" in self.state.seen:
            self._send_key_as(self.state.seen["key_header"])

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @property
    def profile(self) -> ApiProfile:
        """The profile that works, as known so far."""
        return self.state.profile(self.connection.profile)

    @property
    def operations(self) -> Operations:
        """The operations of the API with that profile."""
        return self.with_profile(self.profile)

    def with_profile(self, profile: ApiProfile) -> Operations:
        """The operations of the API with another profile."""
        return Operations(profile, seconds=self.connection.timeout_seconds)

    def ask(self, name: str, operation: Operation[T]) -> Answer[T]:
        """Run an operation. Raises only if nothing more can be learned from this server."""
        self._reply = None
        try:
            value = self._run(name, operation)
        except AuthError as error:
            if not self.state.successes:
                words = self.recorder.clean(str(error))
                raise _KeyRefusedError(f"the server refuses the key: {words}") from None
            return Answer(error=error, reply=self._clean_reply(), file=self._file)
        except ApiError as error:
            return Answer(error=error, reply=self._clean_reply(), file=self._file)
        self.state.successes += 1
        return Answer(value=value, reply=self._clean_reply(), file=self._file)

    def ask_first(self, name: str, make: Callable[[], Operation[T]]) -> Answer[T]:
        """Run the first operation; if the key is refused, with the key in each of the other usual headers."""
        own = self.profile.key_header
        try:
            return self.ask(name, make())
        except _KeyRefusedError as refusal:
            if _KEY_IS_WRONG.search(str(refusal)):
                raise
            for header in variants.key_headers(self.profile):
                self._send_key_as(header)
                with contextlib.suppress(_KeyRefusedError):
                    answer = self.ask(name, make())
                    # A list that is broken or not there has let the key pass.
                    if answer.status != HTTPStatus.BAD_REQUEST:
                        self.state.seen["key_header"] = header
                        return answer
            self._send_key_as(own)
            raise ProbeEndedError(f"{str(refusal).rstrip('.')}. The other usual headers were tried as well") from None

    def _send_key_as(self, header: str) -> None:
        self.connection.profile = dataclasses.replace(self.connection.profile, key_header=header)

    def ask_page(self, name: str, pager: Pager[Item]) -> Answer[Page[Item]]:
        """The first page of a list, or the next one."""
        operation = pager.next_page()
        assert operation is not None
        return self.ask(name, operation)

    def upload(self, name: str, profile: ApiProfile, role: Role, what: str = "") -> Answer[RemoteFile]:
        """Store the two lines for the batch of a role, and remember to delete the file."""
        assert self.state.model is not None
        with tempfile.TemporaryDirectory(prefix="greennode-probe-") as scratch:
            path = Path(scratch) / "probe.jsonl"
            path.write_bytes(tiny_lines(role, profile, self.state.model))
            answer = self.ask(name, self.with_profile(profile).upload_file(path, filename="greennode-probe.jsonl"))
        if answer.value is not None:
            # A server that knows the content may return the id of an earlier file.
            self.state.files.setdefault(answer.value.id, what or f"input of {role}")
        return answer

    def fetch(self, name: str, path: str, *, method: str = "GET") -> Answer[bytes]:
        """The bytes at a path, or behind a whole URL; a redirect is an answer, and is not followed."""

        def operation() -> Operation[bytes]:
            reply = yield Call(
                what=f"{method} {path}",
                method=method,
                path=path,
                deadline_seconds=self.connection.timeout_seconds,
                # A result file with a single line that is an error looks like an error of the call.
                accept=_REDIRECTS | {200},
            )
            return _unpacked(reply.body)

        return self.ask(name, operation())

    def change(self, name: str, path: str) -> Answer[None]:
        """A call without a body that changes something: a POST, if no other method stands before the path."""
        method, place = route(path)

        def operation() -> Operation[None]:
            seconds = self.connection.timeout_seconds
            yield Call(what=f"{method} {place}", method=method, path=place, deadline_seconds=seconds)

        return self.ask(name, operation())

    def raw_json(self) -> Any:
        """The last reply as JSON, with parts that reports leave out: only to follow its links."""
        return None if self._reply is None else self._reply.json()

    def location(self) -> str:
        """The target of the last reply's redirect."""
        return "" if self._reply is None else str(self._url.join(self._reply.headers.get("location", "")))

    def _run(self, name: str, operation: Operation[T]) -> T:
        steps = run(operation, self.connection.key.redact, max_tries=_MAX_TRIES)
        return drive(
            steps,
            send=lambda call: self._send(name, call),
            wait=lambda step: self.sleep(min(step.seconds, _MAX_PAUSE_SECONDS)),
        )

    def _send(self, name: str, call: Call) -> Reply | Lost:
        request = self.connection.request(call)
        self._url = request["url"]
        outcome = stream_reply(self._http, request, Deadline(call.deadline_seconds))
        self.state.calls += 1
        self._file = self.recorder.write(self.state.calls, name, call, request, outcome)
        if isinstance(outcome, Lost):
            self._lost_in_a_row += 1
            if self._lost_in_a_row >= _MAX_LOST_IN_A_ROW:
                words = f"{outcome.loss.value} ({self.recorder.clean(outcome.reason)})"
                raise ProbeEndedError(f"the server does not answer: {words}")
            return outcome
        self._lost_in_a_row = 0
        self._reply = outcome
        self._note(outcome)
        return outcome

    def _note(self, reply: Reply) -> None:
        for header, value in reply.headers.items():
            if _LIMIT_HEADER.search(header) or _REQUEST_HEADER.search(header):
                self.state.headers[header] = self.recorder.clean(value)[:100]
        if not reply.is_success:
            message = self.recorder.clean(parse_error(reply.status, reply.headers, reply.body)[0])
            words = f"HTTP {reply.status}: {shorten(message, 300)}"
            if _LIMIT_WORDS.search(message) and words not in self.state.limit_words:
                self.state.limit_words.append(words)

    def _clean_reply(self) -> Reply | None:
        """The reply without the key: parts of it go into the report."""
        if self._reply is None:
            return None
        body = self.recorder.clean(self._reply.body.decode("utf-8", "surrogateescape"))
        headers = {name: self.recorder.clean(value) for name, value in self._reply.headers.items()}
        return Reply(self._reply.status, headers, body.encode("utf-8", "surrogateescape"))
