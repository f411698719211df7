"""What a task knows of its run: whose its rows are, and when its data ends."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup
from airflow.sdk.io import has_fs

from greennode_airflow.pipeline import batch_table, batch_table_group
from greennode_airflow.runtime.runs import data_until, job_id_of, shard_at, shared_path, staging_root
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget

DAY = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


def job(name: str = "label", **options: Any) -> BatchJob:
    source = SqlSource(conn_id="db", sql="SELECT 1")
    return BatchJob(
        name=name, source=source, key="id", model="m", prompt="p", target=SqlTarget(conn_id="db", table="t"), **options
    )


def ids_of(dag: DAG) -> dict[str, set[str]]:
    """What the builds and the reports of the DAG take for their jobs' ids, by group."""
    found: dict[str, set[str]] = {}
    for task in dag.tasks:
        group, _, name = task.task_id.rpartition(".")
        if name in {"build_requests", "report"}:
            found.setdefault(group, set()).add(job_id_of(task, task.job))
    return found


def test_a_job_is_its_name_in_whatever_dag_and_group() -> None:
    assert ids_of(batch_table(job(), dag_id="a")) == ids_of(batch_table(job(), dag_id="b")) == {"": {"label"}}
    with DAG("c", schedule=None) as dag, TaskGroup("outer"):
        batch_table_group(job())
        batch_table_group(job("another"))
    assert ids_of(dag) == {"outer.label": {"label"}, "outer.another": {"another"}}


def test_jobs_of_one_name_are_told_apart_by_their_groups() -> None:
    with DAG("d", schedule=None) as dag:
        batch_table_group(job(), group_id="mails")
        with TaskGroup("outer"):
            batch_table_group(job(), group_id="chats")
        batch_table_group(job("another"))
    assert ids_of(dag) == {"mails": {"mails/label"}, "outer.chats": {"outer.chats/label"}, "another": {"another"}}


def test_a_job_that_says_its_id_keeps_it() -> None:
    with DAG("e", schedule=None) as dag:
        batch_table_group(job(job_id="label"), group_id="mails")
        batch_table_group(job("new_name", job_id="chats/label"), group_id="chats")
    assert ids_of(dag) == {"mails": {"label"}, "chats": {"chats/label"}}


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({}, None),
        ({"data_interval_end": DAY}, DAY),
        ({"partition_date": DAY, "partition_key": "us", "data_interval_end": DAY + datetime.timedelta(1)}, DAY),
        ({"partition_date": None, "partition_key": "2026-03-01"}, DAY),
        ({"partition_date": None, "partition_key": "2026-03-01T07:00:00+07:00"}, DAY),
        ({"partition_date": None, "partition_key": "20260301"}, None),
        ({"partition_date": None, "partition_key": "us-east", "data_interval_end": None}, None),
        ({"partition_key": "us-east", "data_interval_end": DAY}, DAY),
    ],
)
def test_the_data_of_a_run_ends_with_its_partition_else_with_its_interval(
    context: Any, expected: datetime.datetime | None
) -> None:
    assert data_until(context) == (None if expected is None else expected.timestamp())


@pytest.mark.parametrize(
    ("path", "way_out"),
    [
        ("gs://lake@bucket/greennode", "install greennode-airflow[gcs]"),
        ("abfs://lake@container/greennode", "install greennode-airflow[azure]"),
        ("nosuch://host/greennode", "use s3://, gs:// or abfs://, or a folder on a disk"),
    ],
)
def test_a_store_without_a_provider_is_refused_by_name(
    path: str, way_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = path.partition("//")[0]
    if has_fs(scheme[:-1]):
        pytest.skip("this environment has the provider")
    monkeypatch.setenv("AIRFLOW__GREENNODE__STAGING", path)
    for opens in (
        staging_root,
        lambda: shard_at(f"{path}/dag/run/shards/1"),
        lambda: shared_path(path, what="source", kind="file", example=""),
    ):
        with pytest.raises(ConfigError) as refused:
            opens()
        assert str(refused.value).startswith(path)
        assert f"the file system of {scheme}// cannot be opened" in str(refused.value)
        assert way_out in str(refused.value)
