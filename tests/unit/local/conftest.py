import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from greennode_local.postgres_server import Postgres, running_postgres


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for a server. Not in tmp_path: each pytest that starts makes that private again, and a server
    that root has started, which runs as another user, loses its files."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with running_postgres(home / "postgres", password="pw", log=home / "postgres.log", home=home) as server:
            yield server


@pytest.fixture
def connection(server: Postgres) -> Iterator[psycopg.Connection]:
    """A connection to an empty database."""
    server.drop_database("scratch")
    server.create_database("scratch")
    with server.connect("scratch") as connection:
        yield connection
