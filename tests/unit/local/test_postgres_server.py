import os
import signal
import stat
from pathlib import Path

import psutil
import psycopg
import pytest

from greennode_local.local_error import LocalError
from greennode_local.postgres_server import Postgres, make_traversable, running_postgres


def run(home: Path, password: str = "pw"):
    return running_postgres(home / "postgres", password=password, log=home / "postgres.log", home=home)


def test_data_outlives_the_server_and_nothing_else_does(home: Path) -> None:
    with run(home) as first:
        assert first.create_database("warehouse")
        with first.connect("warehouse") as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        family = first.service.family()
    assert len(family) > 1
    assert not [process for process in family if process.is_running()]
    with run(home) as second, second.connect("warehouse") as connection:
        assert not second.create_database("warehouse")
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)


def test_a_server_that_a_killed_run_left_is_ended(home: Path) -> None:
    with run(home) as first:
        with run(home) as second, second.connect("postgres") as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert first.service.process.wait(120) == 0


def test_a_stale_pid_file_that_names_a_stranger_harms_nobody(home: Path) -> None:
    with run(home):
        pass
    (home / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    before = signal.signal(signal.SIGINT, lambda *_: pytest.fail("the stranger was signalled"))
    try:
        with run(home) as server, server.connect("postgres") as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_listens_on_the_loopback_address_and_asks_for_the_password(server: Postgres) -> None:
    listening = [c.laddr for c in psutil.Process(server.service.process.pid).net_connections() if c.status == "LISTEN"]
    assert listening == [("127.0.0.1", server.port)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.dsn("postgres").replace(":pw@", ":wrong@"))
    assert "pw" not in repr(server)


def test_another_password_than_that_of_the_data_is_said_at_once(home: Path) -> None:
    with run(home):
        pass
    with pytest.raises(LocalError, match="another password"), run(home, password="other"):
        pass


def test_a_database_copied_from_a_template_has_its_tables(server: Postgres) -> None:
    server.create_database("pattern")
    with server.connect("pattern") as connection:
        connection.execute("CREATE TABLE t AS SELECT 7 AS n")
    server.create_database("copied", template="pattern")
    with server.connect("copied") as connection:
        assert connection.execute("SELECT n FROM t").fetchone() == (7,)
    server.drop_database("copied")
    assert not server.has_database("copied")


def test_letters_are_folded_beyond_ascii(connection: psycopg.Connection) -> None:
    assert connection.execute("SELECT lower('ĐÀ NẴNG')").fetchone() == ("đà nẵng",)


def test_folders_above_become_passable_but_not_listable(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o700)
    folder.chmod(0o700)
    make_traversable(folder / "file")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o701
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o701
