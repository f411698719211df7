import json
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greennode_local.local_error import LocalError
from greennode_local.samples import SAMPLES, data_of, is_loaded, load, read_json_lines, read_parquet

TICKETS = SAMPLES["support_tickets"]
PACKAGES = SAMPLES["package_sections"]


def write_packages(path: Path, rows: int) -> Path:
    columns = {
        "package": [f"p{n}" for n in range(rows)],
        "version": ["1.0"] * rows,
        "section": ["libs"] * rows,
        "installed_size_kib": [None, *range(1, rows)],
        "summary": ["日本語 \\N \t tab"] * rows,
        "description": ["one\n two"] * rows,
        "not_in_the_table": [1.5] * rows,
    }
    pq.write_table(pa.table(columns), path, row_group_size=1000)
    return path


def test_all_sample_tickets_are_loaded_as_they_are(connection: psycopg.Connection) -> None:
    data = data_of(TICKETS, None)
    rows = [json.loads(line) for line in data.read_bytes().splitlines()]
    assert load(connection, TICKETS, data) == len(rows) > 100
    loaded = connection.execute("SELECT ticket_id, subject, body FROM support_tickets").fetchall()
    assert sorted(loaded) == sorted((row["ticket_id"], row["subject"], row["body"]) for row in rows)


def test_loading_again_replaces_the_source_and_drops_the_target(connection: psycopg.Connection) -> None:
    assert not is_loaded(connection, TICKETS)
    data = data_of(TICKETS, None)
    rows = load(connection, TICKETS, data)
    connection.execute("CREATE TABLE ticket_labels (n int)")
    assert load(connection, TICKETS, data) == rows
    assert is_loaded(connection, TICKETS)
    assert connection.execute("SELECT to_regclass('ticket_labels')").fetchone() == (None,)


def test_a_parquet_of_many_batches_is_loaded_whole(connection: psycopg.Connection, tmp_path: Path) -> None:
    assert load(connection, PACKAGES, write_packages(tmp_path / "p.parquet", 5001)) == 5001
    first = connection.execute("SELECT * FROM packages WHERE package = 'p0'").fetchone()
    assert first is not None
    assert first[4] is None
    assert first[7:9] == ("日本語 \\N \t tab", "one\n two")
    assert connection.execute("SELECT count(DISTINCT package) FROM packages").fetchone() == (5001,)


def test_a_parquet_that_lacks_a_needed_column_says_which(connection: psycopg.Connection, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"package": ["a"], "version": ["1"], "summary": [""], "section": [""]}), path)
    with pytest.raises(LocalError, match="no column description, which table packages needs"):
        load(connection, PACKAGES, path)


def test_a_line_with_other_columns_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1, "b": 2}\n{"a": 1, "c": 2}\n')
    with pytest.raises(LocalError, match="line 2: columns a, c, not a, b"):
        list(read_json_lines(path).rows)


def test_parquet_rows_come_in_the_order_of_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"b": [1, 2], "a": ["x", None]}), path)
    table = read_parquet(path)
    assert list(table.columns) == ["b", "a"]
    assert list(table.rows) == [(1, "x"), (2, None)]


def test_missing_data_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"--data FILE\.parquet"):
        data_of(PACKAGES, None)
    with pytest.raises(LocalError, match="no such file"):
        data_of(PACKAGES, tmp_path / "none.parquet")
