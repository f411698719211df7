"""Reach: which hosts may be contacted if only a reply of the server names them (a redirect, the URL of a file).

The host of the base URL, and hosts that the connection allows by name, always. Any other host must be on the public
internet, by the address that its name resolves to at the time of the connection: a server must not make this machine
read from its loopback, a cloud's metadata service or the private network. If the base URL is on loopback, every host
is allowed; if it is in a private network, so are other hosts of such networks.
"""

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from greennode_batch.wording import given_by

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class ForbiddenAddressError(Exception):
    """A host that only the server has named, and that is not on the public internet."""


class Reach:
    """Of one connection."""

    def __init__(self, base_url: str, allowed_hosts: Collection[str]) -> None:
        parts = urlsplit(base_url)
        self._base = parts.hostname or ""
        named = (urlsplit(f"//{name.strip().lower()}").hostname for name in allowed_hosts)
        self._known = {self._base, *filter(None, named)}
        self._is_unbounded = is_loopback(self._base)
        self._base_is_private: bool | None = None

    def check_name(self, host: str) -> None:
        """Refuse a host that is certainly out of reach, without a name lookup."""
        host = _plain(host)
        if self._is_unbounded or host in self._known:
            return
        address = _literal(host)
        if is_loopback(host) or (address is not None and not self._may_reach(address)):
            raise ForbiddenAddressError(_words(host, host))

    def addresses(self, host: str, port: int) -> list[str]:
        """Connect to the first willing address of a host. Raises OSError if it has none."""
        host = _plain(host)
        if self._is_unbounded or host in self._known:
            return [host]
        found = list(dict.fromkeys(str(entry[4][0]) for entry in _resolved(host, port)))
        for text in found:
            address = _literal(text)
            if address is None or not self._may_reach(address):
                raise ForbiddenAddressError(_words(host, text))
        return found

    def _may_reach(self, address: Address) -> bool:
        if not _is_inside(address):
            return True
        # A private base URL opens nothing on this machine or its links, where metadata services are.
        if address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast:
            return False
        if self._base_is_private is None:
            self._base_is_private = _is_private(self._base)
        return self._base_is_private


def is_loopback(host: str) -> bool:
    """Whether the text alone shows that a name or address is this machine."""
    host = _plain(host)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _literal(host)
    return address is not None and address.is_loopback


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _literal(host: str) -> Address | None:
    """The address in a text, or the IPv4 address that it stands for; None for a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def _is_inside(address: Address) -> bool:
    return not address.is_global or address.is_multicast


def _is_private(host: str) -> bool:
    """Whether all addresses of a host are in private networks, outside this machine."""
    try:
        found = [_literal(str(entry[4][0])) for entry in _resolved(host, 443)]
    except OSError:
        return False
    return bool(found) and all(
        address is not None and address.is_private and not address.is_loopback for address in found
    )


def _resolved(host: str, port: int) -> list[tuple[object, object, object, object, tuple[object, ...]]]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _words(host: str, address: str) -> str:
    index = host if host == address else f"{host} ({address})"
    return (
        f"the server points to {index}, which is not on the public internet, so it was not contacted. Nothing is "
        "lost: the results that were paid for are still at the server. If this host is right, allow it by name "
        f"({given_by('allow_http_hosts', 'allow_http_hosts of the connection')})"
    )
