"""Real parts for all tests: PostgreSQL from its wheel, the emulator on a loopback port, an Airflow home of its own."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import certifi
import hypothesis
import psycopg
import pytest
from psycopg import sql

PROJECT = Path(__file__).parents[1]

# The machines are shared: how long an example takes says nothing. `make nightly` chooses the other profile.
hypothesis.settings.register_profile("pull_request", deadline=None, max_examples=30)
hypothesis.settings.register_profile("nightly", deadline=None, max_examples=500)
hypothesis.settings.load_profile("pull_request")

# Before anything imports Airflow, which reads its settings once.
os.environ |= {
    "AIRFLOW_HOME": tempfile.mkdtemp(prefix="greennode-test-airflow-"),
    "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    # Each test has a staging area of its own, where no results were read before.
    "AIRFLOW__GREENNODE__PILOT_REQUESTS": "0",
}

_NAME_CHARACTERS = 500

# No test cuts the power, and on a busy disk a small file takes longer to get there than its test.
os.fsync = lambda _: None


def pytest_configure(config: pytest.Config) -> None:
    # All servers are on loopback without TLS, and to read the certificates of all the world takes each client longer
    # than a test, whichever the machine names: one will do. Witnesses are fetched from the registries, which need them.
    if "witness" not in (config.option.markexpr or ""):
        end = "-----END CERTIFICATE-----\n"
        one = Path(tempfile.mkdtemp(prefix="greennode-test-certificate-")) / "one.pem"
        one.write_text(Path(certifi.where()).read_text().partition(end)[0] + end)
        # httpx reads the first, S3's clients the second.
        os.environ |= dict.fromkeys(("SSL_CERT_FILE", "AWS_CA_BUNDLE"), str(one))


def pytest_make_parametrize_id(val: object) -> str | None:
    """A test's name is sent to and fro, and lies in the environment: a text of megabytes is not part of it."""
    return f"{val[:60]!r} and more" if isinstance(val, str | bytes) and len(val) > _NAME_CHARACTERS else None


from greennode_emulator.server import RunningEmulator, running  # noqa: E402
from greennode_emulator.settings import Settings  # noqa: E402
from greennode_local.chromium import chromium, find_chromium  # noqa: E402
from greennode_local.postgres_server import Postgres, running_postgres  # noqa: E402

# Sixteen times the input takes as many times as long where the work is linear, some more where it leaves the
# processor's cache, and 256 times where it is quadratic.
_MORE, _LINEAR = 16, 56
_FEW_ROUNDS, _ROUNDS = 3, 15
# What takes less is not told from the clock's own noise.
_MEASURABLE_SECONDS = 0.002


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for all tests."""
    # Not below pytest's own folder: each pytest that starts closes that to other users, and as root the server
    # runs as one.
    with tempfile.TemporaryDirectory(prefix="greennode-test-postgres-") as folder:
        home = Path(folder)
        password = uuid.uuid4().hex
        with running_postgres(home / "data", password=password, log=home / "postgres.log", home=home) as server:
            yield server


@pytest.fixture(scope="session")
def _one_database(postgres: Postgres) -> str:
    postgres.create_database("test")
    return postgres.dsn("test")


@pytest.fixture
def database(_one_database: str) -> str:
    """A database with nothing in it and nobody else connected to it; its DSN."""
    # Six times as quick as to make one, which has the server write down everything.
    with psycopg.connect(_one_database, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        own = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        for (schema,) in connection.execute(own).fetchall():
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
        # As it is in a new database.
        connection.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
        connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
    return _one_database


@pytest.fixture(scope="session")
def _served() -> Iterator[RunningEmulator]:
    with running(Settings(batch_seconds=0.05)) as emulator:
        yield emulator


@pytest.fixture
def emulator(_served: RunningEmulator) -> RunningEmulator:
    """The emulator, with nothing stored, billed or armed."""
    _served.reset()
    return _served


@dataclass(frozen=True)
class Collector:
    """Where spans are sent by OTLP: its address, and the bodies that it got."""

    endpoint: str
    bodies: list[bytes]


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """An OpenTelemetry collector on loopback."""
    bodies: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever).start()
        yield Collector(f"http://127.0.0.1:{server.server_port}/v1/traces", bodies)
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, by Playwright. Of one module: while it is open, no test can be asynchronous."""
    if find_chromium() is None:
        pytest.skip("no Chromium is installed")
    with chromium() as opened:
        yield opened


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Airflow sends its metrics to a StatsD server, with tags; what that got since it was asked last, line by line."""
    # It imports Airflow, which most tests do without.
    from greennode_airflow.observability import metrics  # noqa: PLC0415

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)

        def lines() -> list[str]:
            got = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    got.append(server.recv(65536).decode())
            return got

        for name, value in {
            "ON": "True",
            "HOST": "127.0.0.1",
            "PORT": str(server.getsockname()[1]),
            "INFLUXDB_ENABLED": "True",
        }.items():
            monkeypatch.setenv(f"AIRFLOW__METRICS__STATSD_{name}", value)
        # Airflow's own, in a whole run, are more than the socket holds.
        monkeypatch.setenv("AIRFLOW__METRICS__METRICS_ALLOW_LIST", "greennode")
        metrics._begin.cache_clear()
        yield lines
    monkeypatch.undo()
    metrics._begin.cache_clear()
    metrics._begin()


@pytest.fixture
def assert_linear() -> Callable[[Callable[[int], object], int], None]:
    """`assert_linear(work, size)`: sixteen times the size must not take much more than sixteen times as long."""

    def seconds(work: Callable[[int], object], size: int) -> float:
        # A round of the garbage collector takes longer than the work.
        gc.disable()
        try:
            before = time.thread_time()
            work(size)
            return time.thread_time() - before
        finally:
            gc.enable()

    def check(work: Callable[[int], object], size: int) -> None:
        # The best of as many rounds as it takes: the machines are shared, and whoever else works there only adds. What
        # is not linear stays far above in every round.
        few, many = min(seconds(work, size // _MORE) for _ in range(_FEW_ROUNDS)), float("inf")
        for _ in range(_ROUNDS):
            many = min(many, seconds(work, size))
            if many < _LINEAR * max(few, _MEASURABLE_SECONDS):
                return
            few = min(few, seconds(work, size // _MORE))
        pytest.fail(f"{size // _MORE}: {few:.4f} s; {size}: {many:.4f} s")

    return check
