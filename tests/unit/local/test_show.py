from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import psycopg
import pytest

from greennode_local.credentials import load_credentials, write_private
from greennode_local.local_error import LocalError
from greennode_local.postgres_server import Postgres
from greennode_local.show import show_table
from greennode_local.stack import WAREHOUSE


@pytest.fixture
def home(postgres: Postgres, tmp_path: Path) -> Iterator[Path]:
    """The home of a deployment whose server is the tests' own, with a warehouse."""
    credentials = replace(load_credentials(tmp_path / "credentials.json"), postgres_password=postgres.password)
    write_private(tmp_path / "credentials.json", msgspec.json.encode(asdict(credentials)))
    with postgres.connect("postgres") as connection:
        (folder,) = connection.execute("SHOW data_directory").fetchone()
    (tmp_path / "postgres").symlink_to(folder)
    postgres.create_database(WAREHOUSE)
    yield tmp_path
    postgres.drop_database(WAREHOUSE)


def test_a_table_is_shown_with_its_columns_and_how_many_rows_it_has(
    home: Path, postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(postgres.dsn(WAREHOUSE)) as connection:
        connection.execute(
            "CREATE TABLE \"Odd name\" AS SELECT i AS id, 'row ' || i AS body FROM generate_series(1, 25) i"
        )
    show_table("Odd name", home=home)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "body"]
    assert lines[2].split() == ["1", "row", "1"]
    assert lines[-1] == "25 rows"


def test_a_wide_table_is_shown_row_by_row(home: Path, postgres: Postgres, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ", ".join(f"'value {number}' AS column_{number}" for number in range(17))
    with psycopg.connect(postgres.dsn(WAREHOUSE)) as connection:
        connection.execute(f"CREATE TABLE answers AS SELECT i AS id, {columns} FROM generate_series(1, 25) i")
    show_table("answers", home=home)
    shown = capsys.readouterr().out
    assert shown.count("-- row ") == 5
    assert "column_16  value 16" in shown
    assert shown.splitlines()[-1] == "25 rows"


def test_a_table_that_is_not_there_is_told(home: Path) -> None:
    with pytest.raises(LocalError, match="no table answers"):
        show_table("answers", home=home)


def test_without_a_deployment_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="make ui"):
        show_table("answers", home=tmp_path)
