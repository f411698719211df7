import random
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from greennode_local.airflow_home import path_roots
from greennode_local.ports import LOOPBACK, free_port, is_free, port_or_next


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server((LOOPBACK, free_port())) as server:
        assert not is_free(server.getsockname()[1])


def test_a_port_that_was_given_is_not_given_again_though_no_server_listens_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = free_port(), free_port()
    assert is_free(first), "a server can listen on it"
    picked = iter([first, first, other, other + 1, other + 2])
    monkeypatch.setattr(random, "randint", lambda *_: next(picked))
    assert free_port() not in {first, other}
    assert port_or_next(first) > first


def test_another_process_is_given_another_port() -> None:
    port = free_port()
    poll = f"from greennode_local.ports import port_or_next; print(port_or_next({port}))"
    environment = {"PYTHONPATH": path_roots()}
    done = subprocess.run([sys.executable, "-c", poll], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) > port


def test_a_wanted_port_that_is_free_is_taken() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
    assert port_or_next(port) == port


def test_a_wanted_port_that_is_taken_gives_the_next_free_one(taken_port: int) -> None:
    port = port_or_next(taken_port)
    assert port > taken_port
    assert is_free(port)


def test_a_taken_port_at_the_end_of_the_range_gives_another() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((LOOPBACK, 65_535))
        server.listen()
        assert is_free(port_or_next(65_535))
