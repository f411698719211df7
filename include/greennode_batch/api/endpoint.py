"""Base URL and API key: checked on the way in, never shown on the way out."""

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from greennode_batch.errors import ConfigError

_VERSION_SEGMENT = re.compile(r"v\d+(?:\.\d+)?(?:(?:alpha|beta)\d*)?")
_MASK = "***"
_SHORTEST_BEGINNING = 4
_BEARER = re.compile(r"(?i)\bbearer\s+[\w\-.~+/]+=*")


class ApiKey:
    """An API key that shows itself only in the header it is for."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str) or not value:
            raise ConfigError("the API key is empty: put it in the connection's password, or in GREENNODE_API_KEY")
        # Header values are visible ASCII; a key with a line end is one pasted with more than itself.
        if not all("!" <= char <= "~" for char in value):
            raise ConfigError(
                "the API key holds a space, a line end or a character outside ASCII (not shown here): paste it again"
            )
        self.__value = value

    def __repr__(self) -> str:
        return f"ApiKey({_MASK})"

    def __reduce__(self) -> str:
        raise TypeError("an API key is not pickled")

    @property
    def header(self) -> str:
        """The value of the Authorization header."""
        return f"Bearer {self.__value}"

    def redact(self, words: str) -> str:
        """The same text without the key: APIs echo it in their errors, and so do proxies with the whole header."""
        *cut, last = words.replace(self.__value, _MASK).split("…")
        words = "…".join([*(_without_beginning(part, self.__value) for part in cut), last])
        return _BEARER.sub(f"Bearer {_MASK}", words)


def _without_beginning(words: str, key: str) -> str:
    """The same text without what is left of the key where a message was cut in the middle of it."""
    lengths = range(min(len(key) - 1, len(words)), _SHORTEST_BEGINNING - 1, -1)
    length = next((length for length in lengths if words.endswith(key[:length])), 0)
    return words[:-length] + _MASK if length else words


def check_base_url(base_url: str, *, allow_http_hosts: Collection[str] = ()) -> str:
    """The base URL without its trailing slash, or a ConfigError that says the way out."""
    url = base_url.strip() if isinstance(base_url, str) else ""
    if not url:
        raise ConfigError("the base URL is empty: put it in the connection's host, for example https://host/v1")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"the base URL cannot be read ({error}); write it as https://host/v1") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError("the base URL holds a user or password (not shown here): the key goes in the password field")
    if parts.scheme not in {"http", "https"} or not host:
        raise ConfigError(f"base URL {url!r} has no scheme; write it as https://host/v1")
    if parts.query or parts.fragment:
        raise ConfigError(f"base URL of {host} has a query or fragment; write it as https://host/v1")
    if not may_use(parts, allow_http_hosts):
        raise ConfigError(
            f"base URL {url!r} would send the key unencrypted: use https://, or allow http for "
            f"this host by name (allow_http_hosts={host})"
        )
    _check_path(parts)
    return url.rstrip("/")


def may_use(parts: SplitResult, allow_http_hosts: Collection[str]) -> bool:
    """Https goes anywhere; http to loopback and to hosts that are allowed by name, "host" or "host:port"."""
    if parts.scheme == "https":
        return True
    allowed = {name.strip().lower() for name in allow_http_hosts}
    return parts.scheme == "http" and (
        _is_loopback(parts.hostname or "") or not allowed.isdisjoint({parts.hostname, parts.netloc.lower()})
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_path(parts: SplitResult) -> None:
    segments = [segment for segment in parts.path.split("/") if segment]
    if segments and _VERSION_SEGMENT.fullmatch(segments[-1]):
        return
    last = next((i for i, segment in enumerate(segments) if _VERSION_SEGMENT.fullmatch(segment)), None)
    root = f"{parts.scheme}://{parts.netloc}"
    if last is not None:
        way_out = f"leave out what follows it: {'/'.join([root, *segments[: last + 1]])}"
    else:
        way_out = f"add /v1: {'/'.join([root, *segments, 'v1'])}"
    raise ConfigError(f"base URL {root}{parts.path} does not end in a version such as /v1; {way_out}")
