"""A file from the API to disk: complete or not at all, resumed if the server allows it, in constant memory."""

import contextlib
import dataclasses
import logging
import re
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit

import httpx

from greennode_batch.api.bounds import OVER_BOUND, Body, Gunzip, file_seconds, in_mib
from greennode_batch.api.connection import Connection, lost, reply_of
from greennode_batch.api.endpoint import may_use
from greennode_batch.api.error_body import decode
from greennode_batch.api.exchange import Call, error_of
from greennode_batch.api.fields import pick
from greennode_batch.api.network import Deadline, until
from greennode_batch.api.reach import ForbiddenAddressError
from greennode_batch.api.results.result_document import (
    has_more,
    is_whole,
    is_zip,
    may_be_document,
    read_document,
    unzip,
)
from greennode_batch.api.retries import next_delay
from greennode_batch.api.wire import WireError, parse_url
from greennode_batch.errors import ApiError, RejectedError, RetryableError

log = logging.getLogger(__name__)

# A try that brought this much more than any before resets the count of tries.
_PROGRESS_BYTES: Final = 1024 * 1024
_MAX_REDIRECTS: Final = 5
_MAX_ERROR_BYTES: Final = 64 * 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_GZIP_MAGIC: Final = b"\x1f\x8b"
_NOTHING_LOST: Final = "Nothing is lost: the results that were paid for are still at the server"
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclasses.dataclass
class _Part:
    """The part of the file on disk, and what is needed to continue from there."""

    file: BinaryIO
    max_bytes: int
    total_bytes: int | None = None
    validator: str | None = None
    can_resume: bool = False

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.can_resume = False

    def range_headers(self) -> dict[str, str]:
        offset = self.file.tell()
        if not self.can_resume or not offset:
            return {}
        condition = {} if self.validator is None else {"if-range": self.validator}
        return {"range": f"bytes={offset}-", **condition}

    def begins_with(self, response: httpx.Response) -> None:
        """Remember from a full reply whether, and on what condition, the download can be resumed."""
        self.restart()
        headers = response.headers
        etag = headers.get("etag", "")
        self.validator = etag if etag.startswith('"') else headers.get("last-modified")
        length = headers.get("content-length", "")
        self.total_bytes = int(length) if length.isdecimal() else None
        self.can_resume = headers.get("accept-ranges", "").lower() == "bytes" and self.total_bytes is not None

    def continues_with(self, response: httpx.Response) -> bool:
        """Whether a 206 continues exactly where the file ends, and belongs to the same file."""
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        return match is not None and (int(match[1]), int(match[2])) == (self.file.tell(), self.total_bytes)


def download(
    http: httpx.Client,
    connection: Connection,
    url: str,
    destination: Path,
    *,
    what: str,
    max_bytes: int,
    sleep: Callable[[float], None],
) -> int:
    """Download the content of `url` to `destination`; returns the bytes on disk.

    The file is written beside the destination and moved into place when it is complete; a failure leaves nothing. A
    try may take as long as an ordinary call, plus time by the bytes received. Raises RejectedError, with the code
    OVER_BOUND for a file larger than `max_bytes`, or for a host that may not be reached.
    """
    call = Call(what=what, method="GET", path=url, deadline_seconds=connection.timeout_seconds)
    with whole_file(destination) as file:
        part = _Part(file, max_bytes)
        attempt, furthest = 1, 0
        while (error := _attempt(http, connection, part, call)) is not None:
            delay = next_delay(attempt, error)
            if delay is None:
                raise error
            log.warning("%s; trying again in %.1f s", error, delay)
            sleep(delay)
            progressed = file.tell() >= furthest + _PROGRESS_BYTES
            furthest = max(furthest, file.tell())
            attempt = 1 if progressed else attempt + 1
        return file.tell()


def as_lines(
    path: Path, size: int, what: str, max_bytes: int, *, id_path: str | None, may_have_pages: bool = False
) -> int | None:
    """Make lines of a file that is a ZIP, or one JSON document with a list of results; returns its bytes.

    None: the document says that it is a page of several; with may_have_pages, it does not say that it is the only one.
    id_path: where a line has the request's id, in a profile. Any other file stays as it is. Holds a document, but
    nothing of an archive.
    """
    if is_zip(path):
        try:
            with whole_file(path) as file:
                if not unzip(path, file, max_bytes):
                    raise _too_large(what, max_bytes)
                size = file.tell()
        except ValueError as error:
            raise RetryableError(f"{what}: the ZIP archive is broken ({error})") from None
    page = read_document(path.read_bytes(), id_path=id_path) if may_be_document(path) else None
    if page is None:
        return size
    if has_more(page) or (may_have_pages and not is_whole(page)):
        return None
    with whole_file(path) as file:
        for entry in page.items:
            write_bounded(file, entry.line, what, max_bytes)
        return file.tell()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the path at the end, complete or not at all."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("w+b") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_bounded(file: BinaryIO, line: bytes, what: str, max_bytes: int) -> None:
    """Write a line. Raises RejectedError if the file gets larger than `max_bytes`."""
    if file.tell() + len(line) >= max_bytes:
        raise _too_large(what, max_bytes)
    file.write(line + b"\n")


def named_url(path: Path, place: str | None) -> str | None:
    """The file's real URL, if the content is JSON that holds it; None for any other content.

    place: where the URL stands, in a profile.
    """
    if path.stat().st_size > _MAX_ERROR_BYTES:
        return None
    data = decode(path.read_bytes())
    if isinstance(data, dict) and pick(data, "custom_id", "response", "error") is not None:
        return None  # the only line of a file
    with contextlib.suppress(WireError):
        return parse_url(data, path=place)
    return None


def _attempt(http: httpx.Client, connection: Connection, part: _Part, call: Call) -> ApiError | None:
    timeout = connection.timeout(call)
    deadline = Deadline(call.deadline_seconds)
    try:
        url = _allowed(httpx.URL(call.path), connection, call)
        for _ in range(_MAX_REDIRECTS + 1):
            # The host of each request decides who gets the key: `headers` gives it to the API alone.
            headers = connection.headers(url) | {"accept-encoding": "identity"} | part.range_headers()
            with until(deadline), http.stream("GET", url, headers=headers, timeout=timeout) as response:
                if response.status_code not in _REDIRECTS:
                    return _receive(response, part, call, connection, deadline)
                url = _allowed(url.join(response.headers.get("location", "")), connection, call)
        return RejectedError(f"{call.what}: more than {_MAX_REDIRECTS} redirects")
    except ForbiddenAddressError as refusal:
        return RejectedError(f"{call.what}: {refusal}", code=OVER_BOUND)
    except httpx.InvalidURL:
        return RejectedError(f"{call.what}: the server names something that is not a URL")
    except httpx.RequestError as error:
        return error_of(lost(error), call, connection.key.redact, now=0.0)
    except zlib.error as error:
        part.restart()
        return RetryableError(f"{call.what}: the gzip data are broken ({error})")


def _allowed(url: httpx.URL, connection: Connection, call: Call) -> httpx.URL:
    if not may_use(urlsplit(str(url)), connection.allow_http_hosts):
        raise RejectedError(f"{call.what}: the server points to {url.scheme}://{url.host}, which is not encrypted")
    connection.reach.check_name(url.host)
    return url


def _receive(
    response: httpx.Response, part: _Part, call: Call, connection: Connection, deadline: Deadline
) -> ApiError | None:
    """Append a reply's body to the part; returns None when the file is complete."""
    redact = connection.key.redact
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        if not part.continues_with(response):
            part.restart()
            return RetryableError(f"{call.what}: the server sent a different part of the file than was requested")
    elif response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        part.restart()
        return RetryableError(f"{call.what}: the server refuses to continue where the last try ended")
    elif response.status_code in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}:
        if "text/html" in response.headers.get("content-type", ""):
            return RetryableError(f"{call.what}: HTTP 200 with an HTML page instead of the file", status=200)
        part.begins_with(response)
    else:
        body = _beginning(response)
        return error_of(reply_of(response, body), call, redact, now=connection.clock())
    error = _write(response, part, call, deadline)
    if error is None and part.total_bytes is not None and part.can_resume and part.file.tell() < part.total_bytes:
        return RetryableError(f"{call.what}: received {part.file.tell()} of {part.total_bytes} bytes")
    return error


def _write(response: httpx.Response, part: _Part, call: Call, deadline: Deadline) -> ApiError | None:
    length = response.headers.get("content-length", "")
    encoding = response.headers.get("content-encoding", "identity").lower()
    gunzip: Gunzip | None = None
    received = 0
    # The raw bytes of the reply; `iter_raw` would refuse a reply that a test's transport built whole.
    assert isinstance(response.stream, httpx.SyncByteStream)
    for chunk in response.stream:
        # Some servers compress without being asked, and not all of them say so. No line of JSON begins like this.
        if not received and not part.file.tell() and chunk.startswith(_GZIP_MAGIC):
            gunzip, part.can_resume = Gunzip(), False
        elif not received and gunzip is None and encoding not in {"identity", "gzip", "x-gzip", ""}:
            return RejectedError(f"{call.what}: the server sends {encoding}, but only identity was requested")
        received += len(chunk)
        deadline.seconds = call.deadline_seconds + file_seconds(received)
        error = _over_bound(part, [chunk] if gunzip is None else gunzip.unpack(chunk), call, deadline)
        if error is not None:
            return error
    if length.isdecimal() and received != int(length):
        return RetryableError(f"{call.what}: cut off after {received} of {length} bytes")
    if gunzip is not None and not gunzip.whole:
        part.restart()
        return RetryableError(f"{call.what}: the gzip data are incomplete, after {received} bytes")
    # Doubleword sends this header while it is still writing the file.
    if response.headers.get("x-incomplete", "").lower() == "true":
        part.restart()
        return RetryableError(f"{call.what}: the server is still writing this file")
    return None


def _over_bound(part: _Part, pieces: Iterable[bytes], call: Call, deadline: Deadline) -> ApiError | None:
    """Write the next bytes; returns the error if the file gets too large or arrives too slowly."""
    for piece in pieces:
        if part.file.tell() + len(piece) > part.max_bytes:
            return _too_large(call.what, part.max_bytes)
        part.file.write(piece)
    if deadline.has_passed:
        return RetryableError(
            f"{call.what}: given up {part.file.tell()} bytes into the file, after {deadline.seconds:.0f} s: it is "
            f"too slow. {_NOTHING_LOST}"
        )
    return None


def _too_large(what: str, max_bytes: int) -> RejectedError:
    words = f"{what}: the file is larger than {in_mib(max_bytes)}, the limit for its requests. {_NOTHING_LOST}"
    return RejectedError(words, code=OVER_BOUND)


def _beginning(response: httpx.Response) -> bytes:
    body = Body(response.headers)
    assert isinstance(response.stream, httpx.SyncByteStream)
    for chunk in response.stream:
        if body.take(chunk) is not None or len(body.data) > _MAX_ERROR_BYTES:
            break
    return bytes(body.data[:_MAX_ERROR_BYTES])
