"""Free TCP ports on the loopback address."""

import random
import socket
from contextlib import closing

LOOPBACK = "127.0.0.1"
# Below the range that systems use for outgoing connections (32768 and up), so that no connection gets the port
# between our check and the server's bind.
_LOWEST, _HIGHEST = 20_000, 32_000
# A port stays marked until this process ends, because a server takes time to listen. A search for a free port
# meanwhile, in this process or another one, gets a different one. The mark is the UDP port of the same number,
# which no server uses.
_marks: list[socket.socket] = []


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        # As servers do it: a port in TIME_WAIT is free, one with a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A free port, picked at random. No other search gets it while this process lives."""
    for _ in range(1000):
        port = random.randint(_LOWEST, _HIGHEST)  # noqa: S311 - a port is no secret
        if _take(port):
            return port
    raise OSError(f"no free port between {_LOWEST} and {_HIGHEST} on {LOOPBACK}")


def port_or_next(wanted: int, *, tries: int = 50) -> int:
    """The wanted port, or the next free one above it, as `free_port`. The caller reports a difference."""
    for port in range(wanted, min(wanted + tries, 65_536)):
        if _take(port):
            return port
    return free_port()


def _take(port: int) -> bool:
    mark = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        mark.bind((LOOPBACK, port))
    except OSError:
        mark.close()
        return False
    if not is_free(port):
        mark.close()
        return False
    _marks.append(mark)
    return True
