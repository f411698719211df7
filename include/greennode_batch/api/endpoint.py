"""Base URL and API key: checked on the way in, never shown on the way out."""

import base64
import html
import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from greennode_batch.api.reach import is_loopback
from greennode_batch.errors import ConfigError
from greennode_batch.wording import given_by

_VERSION_SEGMENT = re.compile(r"v\d+(?:\.\d+)?(?:(?:alpha|beta)\d*)?")
_MASK = "***"
_SHORTEST_BEGINNING = 4
_BEARER = re.compile(r"(?i)\bbearer(?:\s|%20|\+)+[\w\-.~+/%]+=*")
# What may be left of an escaped character where a message was cut.
_CUT_ESCAPE = re.compile(r"(?:%\w{0,3}|\\+(?:[ux]\w{0,3})?|&[#\w]{0,6})?\Z")
_ESCAPED = "\"'/"
_ENTITY = "&(?:amp;)*"
# Fewer characters of base64 than this may be any word.
_SHORTEST_BASE64 = 6


class ApiKey:
    """An API key that shows itself only in the header it is for."""

    __slots__ = ("__begun", "__spellings", "__value", "__written")

    def __init__(self, value: str) -> None:
        if not isinstance(value, str) or not value:
            raise ConfigError("the API key is empty: put it in the connection's password, or in GREENNODE_API_KEY")
        # Header values are visible ASCII; a key with a line end was pasted with something else.
        if not all("!" <= char <= "~" for char in value):
            raise ConfigError(
                "the API key holds a space, a line end or a character outside ASCII (not shown here): paste it again"
            )
        self.__value = value
        self.__spellings = [[re.compile(char) for char in chars] for chars in _spellings(value)]
        self.__written = re.compile("|".join("".join(char.pattern for char in chars) for chars in self.__spellings))
        # The places where a beginning can be: a hundred times faster than a check of every place.
        short = ("".join(char.pattern for char in chars[:_SHORTEST_BEGINNING]) for chars in self.__spellings)
        self.__begun = re.compile(f"(?={'|'.join(short)})")

    def __repr__(self) -> str:
        return f"ApiKey({_MASK})"

    def __reduce__(self) -> str:
        raise TypeError("an API key is not pickled")

    def in_header(self, value: str) -> str:
        """The value of the header that carries the key: the key in the place of `{key}`."""
        return value.replace("{key}", self.__value)

    def redact(self, words: str) -> str:
        """The text without the key: APIs echo it in their errors, and proxies echo the whole header.

        Also finds the key as written in URLs, JSON, HTML and base64 (alone, or after a user name or a scheme).
        """
        *cut, last = self.__written.sub(_MASK, words).split("…")
        words = "…".join([*map(self._without_beginning, cut), last])
        return _BEARER.sub(f"Bearer {_MASK}", words)

    def _without_beginning(self, words: str) -> str:
        """The text without the rest of a key that was cut in the middle."""
        longest = max(map(len, self.__spellings)) * len("%252525")
        for begun in self.__begun.finditer(words, max(0, len(words) - longest)):
            if any(_is_beginning(words, begun.start(), chars) for chars in self.__spellings):
                return words[: begun.start()] + _MASK
        return words


def _spellings(key: str) -> list[list[str]]:
    """The forms in which the key may appear, each as one pattern a character: text, base64 in each alignment, hex."""
    data = key.encode()
    # JSON in JSON in JSON has four backslashes for one.
    levels = (1, 2, 4) if "\\" in key else (1,)
    spellings = [[_written(char, level) for char in key] for level in levels]
    spellings.append([f"(?i:{digit})" for digit in data.hex()])
    for before in range(3):
        # Only the characters that share no bit with a neighbour.
        encoded = base64.b64encode(bytes(before) + data).decode().rstrip("=")
        core = encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        if len(core) >= _SHORTEST_BASE64:
            spellings.append([_base64_written(char) for char in core])
    return spellings


def _written(char: str, level: int = 1) -> str:
    """The pattern of one character: as it is, or escaped for a URL, JSON or HTML, once or twice."""
    code = f"{ord(char):02x}"
    plain = re.escape(char)
    if char == "\\":
        plain *= level
    elif char in _ESCAPED:
        plain = rf"\\{{0,4}}{plain}"
    # The plain form comes last: some of the others begin like it.
    ways = [
        f"(?i:%(?:25)*{code})",
        rf"(?i:\\{{1,4}}(?:u00|x){code})",
        f"(?i:&(?:amp;)*#(?:0*{ord(char)}|x0*{code});)",
    ]
    name = html.escape(char)
    if name != char:
        ways.append(f"{_ENTITY}{name[1:]}")
    return f"(?:{'|'.join([*ways, plain])})"


def _base64_written(char: str) -> str:
    # The URL-safe alphabet replaces two characters.
    return {"+": f"(?:{_written('+')}|-)", "/": f"(?:{_written('/')}|_)"}.get(char, re.escape(char))


def _is_beginning(words: str, start: int, chars: list[re.Pattern[str]]) -> bool:
    """Whether a text ends with the beginning of the key, from `start`."""
    index = start
    for count, char in enumerate(chars):
        found = char.match(words, index)
        if found is None:
            return count >= _SHORTEST_BEGINNING and _CUT_ESCAPE.match(words, index) is not None
        index = found.end()
    return False


def check_base_url(base_url: str, *, allow_http_hosts: Collection[str] = (), version: bool = True) -> str:
    """The base URL without its trailing slash; raises a ConfigError that says how to fix it.

    `version`: it has to end in a version such as /v1.
    """
    url = base_url.strip() if isinstance(base_url, str) else ""
    if not url:
        raise ConfigError(
            f"the base URL is empty: put it in {given_by('base_url', 'the host of the connection')}, for example https://host/v1"
        )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"the base URL cannot be read ({error}); write it as https://host/v1") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            "the base URL holds a user or password (not shown here): the key goes in the connection's password, or in "
            "GREENNODE_API_KEY"
        )
    if parts.scheme not in {"http", "https"} or not host:
        raise ConfigError(f"base URL {url!r} has no scheme; write it as https://host/v1")
    if parts.query or parts.fragment:
        raise ConfigError(f"base URL of {host} has a query or fragment; write it as https://host/v1")
    if not may_use(parts, allow_http_hosts):
        allowed = given_by("allow_http_hosts", f"allow_http_hosts of the connection: {host}", value=host)
        raise ConfigError(
            f"base URL {url!r} would send the key unencrypted: use https://, or allow http for this host by name "
            f"({allowed})"
        )
    if version:
        _check_version(parts)
    return url.rstrip("/")


def may_use(parts: SplitResult, allow_http_hosts: Collection[str]) -> bool:
    """Https may go anywhere; http only to loopback and to hosts allowed by name, "host" or "host:port"."""
    if parts.scheme == "https":
        return True
    allowed = {name.strip().lower() for name in allow_http_hosts}
    return parts.scheme == "http" and (
        is_loopback(parts.hostname or "") or not allowed.isdisjoint({parts.hostname, parts.netloc.lower()})
    )


def ends_in_version(base_url: str) -> bool:
    """Whether a URL's path ends in a version such as /v1."""
    return _VERSION_SEGMENT.fullmatch(urlsplit(base_url).path.rstrip("/").rpartition("/")[2]) is not None


def _check_version(parts: SplitResult) -> None:
    if ends_in_version(parts.geturl()):
        return
    segments = [segment for segment in parts.path.split("/") if segment]
    last = next((i for i, segment in enumerate(segments) if _VERSION_SEGMENT.fullmatch(segment)), None)
    root = f"{parts.scheme}://{parts.netloc}"
    if last is not None:
        way_out = f"leave out what follows it: {'/'.join([root, *segments[: last + 1]])}"
    else:
        way_out = f"add /v1: {'/'.join([root, *segments, 'v1'])}"
    unversioned = given_by("base_url_version", '"base_url_version": false in the profile')
    raise ConfigError(
        f"base URL {root}{parts.path} does not end in a version such as /v1; {way_out}. If the server's address has "
        f"none, set {unversioned}"
    )
