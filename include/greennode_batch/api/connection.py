"""What both clients share: the base URL, the key, and how a Call becomes an httpx request."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from greennode_batch.api.bounds import OVER_BOUND, Body
from greennode_batch.api.endpoint import ApiKey, check_base_url, may_use
from greennode_batch.api.exchange import Call, Loss, Lost, Reply
from greennode_batch.api.network import Deadline, until
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.protocol import Operations
from greennode_batch.api.reach import ForbiddenAddressError, Reach
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.errors import RejectedError

log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 10.0
DEFAULT_TIMEOUT_SECONDS: Final = 60.0
MAX_CONNECTIONS: Final = 20
_USER_AGENT = "greennode-batch"
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class Connection:
    """A checked base URL, a key and a profile, and the unknown status words it has met."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        profile: ApiProfile,
        allow_http_hosts: Collection[str],
        timeout_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.allow_http_hosts = frozenset(allow_http_hosts)
        self.base_url = check_base_url(
            base_url, allow_http_hosts=self.allow_http_hosts, version=profile.base_url_version
        )
        self.reach = Reach(self.base_url, self.allow_http_hosts)
        self.key = ApiKey(api_key)
        self.profile = profile
        self.timeout_seconds = timeout_seconds
        self.clock = clock
        self.operations = Operations(profile, seconds=timeout_seconds)
        self._origin = _origin(httpx.URL(self.base_url))
        self._unknown_words: set[str] = set()

    def __repr__(self) -> str:
        return f"{self.base_url!r}, profile={self.profile.name!r}"

    @property
    def host(self) -> str:
        """The host of the base URL."""
        return self._origin[1]

    def url(self, path: str) -> httpx.URL:
        """A path of the profile below the base URL, or a whole URL that the server has named.

        Raises RejectedError if the URL is not encrypted or its host may not be reached.
        """
        if not path.startswith(("https://", "http://")):
            return httpx.URL(self.base_url + path)
        try:
            url = httpx.URL(path)
        except httpx.InvalidURL:
            raise RejectedError("the server names something that is not a URL") from None
        if not may_use(urlsplit(path), self.allow_http_hosts):
            raise RejectedError(f"the server points to {url.scheme}://{url.host}, which is not encrypted")
        try:
            self.reach.check_name(url.host)
        except ForbiddenAddressError as refusal:
            raise RejectedError(str(refusal), code=OVER_BOUND) from None
        return url

    def headers(self, url: httpx.URL) -> dict[str, str]:
        """Headers for a request to this URL. Only the API itself gets the key and the profile's headers."""
        if _origin(url) != self._origin:
            return {"user-agent": _USER_AGENT}
        name, value = self.profile.key_header_parts
        return {"user-agent": _USER_AGENT, **self.profile.extra_headers, name: self.key.in_header(value)}

    def request(self, call: Call) -> dict[str, Any]:
        """The arguments of httpx's `stream` for a call."""
        url = self.url(call.path)
        headers = self.headers(url) | {"accept-encoding": "gzip"}
        content: Any = None
        if call.upload is not None:
            content = call.upload
            # Names in any case: of two that are the same, the connection's is sent.
            taken = {name.lower() for name in headers} | {"content-length"}
            headers |= call.upload.headers
            headers |= {name.lower(): value for name, value in call.headers.items() if name.lower() not in taken}
        elif call.json is not None:
            content = msgspec.json.encode(call.json)
            headers["content-type"] = "application/json"
        return {
            "method": call.method,
            "url": url,
            "params": dict(call.params) or None,
            "headers": headers,
            "content": content,
            "timeout": self.timeout(call),
        }

    @staticmethod
    def timeout(call: Call) -> httpx.Timeout:
        """The timeouts of each phase of a call; only sending a file takes long."""
        seconds = call.deadline_seconds
        short = min(CONNECT_SECONDS, seconds)
        write = seconds if call.upload is not None else short
        return httpx.Timeout(connect=short, pool=short, write=write, read=seconds)

    def note(self, batch: Batch) -> Batch:
        """The same batch, without the key in its texts; logs each unknown status word once."""
        batch = msgspec.structs.replace(
            batch,
            raw_status=self.key.redact(batch.raw_status),
            errors=tuple(map(self.key.redact, batch.errors)),
            error_codes=tuple(map(self.key.redact, batch.error_codes)),
        )
        if batch.status is BatchStatus.UNKNOWN and batch.raw_status not in self._unknown_words:
            self._unknown_words.add(batch.raw_status)
            log.warning(
                "batch %s has the unknown status %r: waiting goes on; "
                "to give this word a meaning, set status_words in the connection's profile",
                batch.id,
                batch.raw_status,
            )
        return batch


def reply_of(response: httpx.Response, body: bytes) -> Reply:
    """A Reply from httpx's response and the body that was read."""
    return Reply(response.status_code, dict(response.headers.items()), body)


def stream_reply(http: httpx.Client, request: Mapping[str, Any], deadline: Deadline) -> Reply | Lost:
    """Send a request, with httpx's arguments, and read its reply: in memory, bounded, until the deadline."""
    try:
        with until(deadline), http.stream(**request) as response:
            body = Body(response.headers)
            # The raw bytes of the reply: httpx would decompress a chunk of them to any size.
            assert isinstance(response.stream, httpx.SyncByteStream)
            for chunk in response.stream:
                complaint = too_late(deadline) if deadline.has_passed else body.take(chunk)
                if complaint is not None:
                    return Lost(Loss.NO_REPLY, complaint)
            return whole_reply(response, body)
    except httpx.TimeoutException as error:
        # Which phase of the call hit the deadline helps no reader of the message.
        reason = too_late(deadline) if deadline.has_passed else lost(error).reason
        return Lost(lost(error).loss, reason)
    except httpx.RequestError as error:
        return lost(error)
    except ForbiddenAddressError as refusal:
        return Lost(Loss.NOT_SENT, str(refusal))


def whole_reply(response: httpx.Response, body: Body) -> Reply | Lost:
    """A Reply from httpx's response and the body that was read to its end."""
    complaint = body.end()
    return reply_of(response, bytes(body.data)) if complaint is None else Lost(Loss.NO_REPLY, complaint)


def too_late(deadline: Deadline) -> str:
    """Why a call is given up at its deadline, as text."""
    return f"no whole reply within {deadline.seconds:.0f} s"


def lost(error: httpx.RequestError) -> Lost:
    """What an httpx failure means for the request."""
    reason = f"{_host_of(error)}{type(error).__name__}: {error}".rstrip(": ")
    return Lost(Loss.NOT_SENT if isinstance(error, _NOT_SENT) else Loss.NO_REPLY, reason)


def _host_of(error: httpx.RequestError) -> str:
    """The address of the request, so that a reader can spot a typo; empty if httpx does not give it."""
    try:
        return f"{error.request.url.netloc.decode()}: "
    except RuntimeError:
        return ""


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    # httpx omits a scheme's default port, so https://host and https://host:443 are the same here.
    return url.scheme, url.host, url.port
