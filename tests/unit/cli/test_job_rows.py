"""The rows of a job, with no Airflow to render or connect."""

import sqlite3
from contextlib import closing

import pytest

from greennode_batch.cli.job_rows import job_rows
from greennode_batch.errors import ConfigError, GreenNodeError
from greennode_batch.job.sources import FileSource, SqlSource


def values(job, column, limit=None):
    with job_rows(job, limit=limit) as rows:
        return [value for batch in rows().batches for value in batch.values(column)]


def test_only_the_columns_that_the_job_uses_are_read(table, make_job):
    (table / "more.csv").write_text("id,text,more\n1,one,x\n2,two,y\n")
    job = make_job(source=FileSource(path="more.csv"))
    with job_rows(job) as rows:
        (batch,) = rows().batches
    assert (batch.values("id"), batch.values("text")) == (["1", "2"], ["one", "two"])
    with pytest.raises(KeyError):
        batch.values("more")


def test_a_query_is_read_whole_also_where_airflow_would_read_it_in_parts(table, make_job):
    sql = "SELECT id, text FROM notes WHERE id % {{ partitions }} = {{ partition }} AND id > :least ORDER BY id"
    job = make_job(source=SqlSource(conn_id="warehouse", sql=sql, parameters={"least": 3}), partitions=4)
    assert values(job, "id") == list(range(4, 13))
    assert values(job, "id", limit=2) == [4, 5]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (SqlSource(conn_id="w", sql="SELECT '{{ ds }}'"), "the query .* only a run of Airflow gives .*'ds'.* in --in"),
        (
            SqlSource(conn_id="w", sql="SELECT :day", parameters={"day": "{{ params.day }}"}),
            "the parameter day .* only a run of Airflow gives",
        ),
        (FileSource(path="day={{ ds }}/"), "the path .* only a run of Airflow gives"),
        (FileSource(path="s3://lake@bucket/rows/"), "names Airflow's connection lake; give the path with --in and"),
    ],
)
def test_what_only_a_run_of_airflow_knows_says_the_way_out(make_job, source, words):
    with pytest.raises(ConfigError, match=words):
        values(make_job(source=source), "id")


def test_a_database_that_is_busy_or_lost_is_named_in_a_sentence(table, make_job, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", f"sqlite:///{table}/warehouse.db?timeout=0")
    job = make_job(source=SqlSource(conn_id="warehouse", sql="SELECT id, text FROM notes"))
    with closing(sqlite3.connect(table / "warehouse.db")) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(GreenNodeError, match=r"connection warehouse: database is locked\. Nothing was sent; start"):
            values(job, "id")
