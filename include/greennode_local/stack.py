"""PostgreSQL, the emulator and Airflow as one context manager."""

import contextlib
import fcntl
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from greennode_local.airflow_database import DATABASE, make_database, migrate_template, sqlalchemy_url
from greennode_local.airflow_home import PROJECT, AirflowHome
from greennode_local.airflow_services import Airflow
from greennode_local.credentials import load_credentials
from greennode_local.emulator import Emulator, starting_emulator
from greennode_local.local_error import LocalError
from greennode_local.ports import free_port, port_or_next
from greennode_local.postgres_server import Postgres, running_postgres
from greennode_local.processes import Service, kill, members_of

WAREHOUSE = "warehouse"
POOL, POOL_SLOTS = "greennode", 20
# Invented, and the currency says so wherever a cost is shown: they are not GreenNode's.
DEMO_PRICES = {
    "google/gemma-4-31b-it": [2_000, 6_000],
    "openai/gpt-oss-120b": [3_000, 12_000],
    "qwen/qwen3.6-flash": [1_000, 4_000],
    "zai/glm-5.2": [8_000, 30_000],
    "greennode/greenmind-medium-14b-r1": [2_000, 6_000],
    "currency": "demo VND",
}
# Airflow's page to edit a connection shows only fields that are stored, so each one is stored.
_FIELDS = (
    "profile", "allow_http_hosts", "keep_remote_files", "batch_url", "max_batches_in_flight", "max_enqueued_tokens",
    "max_concurrency", "max_requests_per_minute", "max_tokens_per_minute",
)  # fmt: skip


class LocalStack:
    """Everything that a pipeline needs, in one home folder.

    Inside the `with`, all parts have been started and the warehouse can be used; `wait_until_ready` waits for
    Airflow, so that data can be loaded meanwhile. At the end all processes are stopped, also after an error.
    `fresh` empties the warehouse, Airflow's history, the staging area and the emulator, and keeps what is slow
    to make. Airflow gets connections from its environment, which its pages do not list; with
    `connections_in_database` they are stored, shown and can be edited. A second stack on the same home is refused.
    As root, use a home outside of pytest's `tmp_path`: see `postgres.running_postgres`.
    """

    postgres: Postgres
    emulator: Emulator
    airflow: Airflow

    def __init__(
        self,
        home: Path,
        *,
        ui_port: int | None = None,
        dags_folder: Path = PROJECT / "dags",
        connections: Mapping[str, Mapping[str, object]] | None = None,
        connections_in_database: bool = False,
        settings: Mapping[str, str] | None = None,
        emulator_options: tuple[str, ...] = (),
        batch_seconds: float = 2,
        fresh: bool = False,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.home = home.resolve()
        self.staging = self.home / "staging"
        # Seconds by phase of the start.
        self.phases: dict[str, float] = {}
        self._ui_port = ui_port
        self._dags_folder = dags_folder
        self._connections = connections or {}
        self._connections_in_database = connections_in_database
        self._settings = settings or {}
        self._emulator_options = emulator_options
        self._batch_seconds = batch_seconds
        self._fresh = fresh
        self._say = say
        self._parts = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def services(self) -> list[Service]:
        """Every process that was started."""
        return [self.postgres.service, self.emulator.service, *self.airflow.services]

    def warehouse(self, *, autocommit: bool = False) -> psycopg.Connection:
        """A new connection to the warehouse."""
        return self.postgres.connect(WAREHOUSE, autocommit=autocommit)

    def wait_until_ready(self, dag_ids: Collection[str] = ()) -> None:
        """Wait until all parts answer and these DAGs are parsed."""
        self._say("waiting for Airflow, which takes about a minute")
        with self._phase("airflow ready"):
            self.emulator.wait_until_healthy()
            self.airflow.wait_until_ready(dag_ids)
            self.airflow.client.make_pool(POOL, slots=POOL_SLOTS)
            if self._connections_in_database:
                for name, connection in self.connections.items():
                    self.airflow.client.put_connection(name, connection)

    def check(self) -> None:
        """Raise, with the end of its log, if a process has ended."""
        for service in self.services:
            service.check()

    def _start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self._parts.enter_context(_only_one(self.home))
        kill(members_of(self.home))  # processes of a run that was killed
        self._parts.callback(lambda: kill(members_of(self.home)))
        logs = self.home / "airflow" / "components"
        if self._fresh:
            for folder in (self.staging, self.home / "emulator", self.home / "airflow"):
                shutil.rmtree(folder, ignore_errors=True)
        credentials = load_credentials(self.home / "credentials.json")
        with self._phase("postgres"):
            self.emulator = self._parts.enter_context(
                starting_emulator(
                    self.home / "emulator",
                    api_key=credentials.emulator_key,
                    batch_seconds=self._batch_seconds,
                    log=logs / "emulator.log",
                    home=self.home,
                    extra=self._emulator_options,
                )
            )
            self.postgres = self._parts.enter_context(
                running_postgres(
                    self.home / "postgres",
                    password=credentials.postgres_password,
                    log=logs / "postgres.log",
                    home=self.home,
                )
            )
            if self._fresh:
                self.postgres.drop_database(WAREHOUSE)
            self.postgres.create_database(WAREHOUSE)
        airflow_home = AirflowHome(
            folder=self.home / "airflow",
            dags_folder=self._dags_folder,
            port=free_port() if self._ui_port is None else self._free_ui_port(self._ui_port),
            log_ports=(free_port(), free_port()),
            sql_alchemy_conn=sqlalchemy_url(self.postgres),
            credentials=credentials,
            connections={} if self._connections_in_database else self.connections,
            mark=self.home,
            settings={"AIRFLOW__GREENNODE__STAGING": self.staging.as_uri(), **self._settings},
        )
        airflow_home.prepare()
        with self._phase("airflow db migrate"):
            if migrate_template(self.postgres, airflow_home.environment(), log=logs / "db-migrate.log"):
                self._say("made Airflow's database; the next start finds it ready")
            make_database(self.postgres, fresh=self._fresh)
        self.airflow = Airflow(airflow_home, connect=lambda: self.postgres.connect(DATABASE))
        self._parts.callback(self.airflow.stop)

    @property
    def connections(self) -> dict[str, Mapping[str, object]]:
        """By id: `warehouse`, `greennode_default` and what the caller has added or replaced."""
        return {
            "warehouse": {
                "conn_type": "postgres",
                "host": self.postgres.host,
                "port": self.postgres.port,
                "login": self.postgres.user,
                "password": self.postgres.password,
                "schema": WAREHOUSE,
            },
            "greennode_default": emulator_connection(self.emulator.base_url, self.emulator.api_key),
            **self._connections,
        }

    def _free_ui_port(self, wanted: int) -> int:
        port = port_or_next(wanted)
        if port != wanted:
            self._say(f"port {wanted} is taken by another program: using {port} instead")
        return port

    @contextlib.contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.phases[name] = time.monotonic() - start
        self._say(f"{name}: {self.phases[name]:.1f} s")

    def _stop(self) -> None:
        with _undisturbed():
            self._parts.close()


def emulator_connection(base_url: str, api_key: str) -> dict[str, object]:
    """The connection to an emulator, in Airflow's JSON form."""
    return {
        "conn_type": "greennode",
        "host": base_url,
        "password": api_key,
        "description": "The local emulator. Its prices are made up for the demo.",
        "extra": json.dumps({**dict.fromkeys(_FIELDS), "prices": DEMO_PRICES}),
    }


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Hold the home folder; it is an error if another process holds it."""
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(f"another run is using {home}: wait for it, or stop it") from None
        yield


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Inside, a second Ctrl-C does not interrupt the stop, which would leave processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
