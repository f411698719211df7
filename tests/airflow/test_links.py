from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest
from airflow.sdk.configuration import conf

from greennode_airflow.observability.links import BatchLink, RunLink, StagingLink
from greennode_airflow.operators import (
    GreenNodeBatchOperator,
    GreenNodeBuildRequestsOperator,
    GreenNodeCollectResultsOperator,
    GreenNodePageOperator,
    GreenNodeReportOperator,
    GreenNodeSubmitBatchOperator,
)
from greennode_airflow.sensors import GreenNodeBatchSensor
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource, SqlSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.staging.folders import run_folder, write_json
from greennode_batch.state.receipts import Receipt

RUN_ID = "manual__2026-01-01T00:00:00+00:00"
PAGE = "/plugin/greennode-batches/greennode/run?dag_id=tickets&run_id=manual__2026-01-01T00%3A00%3A00%2B00%3A00"
KEY = SimpleNamespace(dag_id="tickets", run_id=RUN_ID, map_index=3)
JOB = BatchJob(
    name="tickets",
    source=FileSource(path="rows.parquet"),
    target=FileTarget(path="/answers"),
    key="id",
    model="m",
    prompt="{{ text }}",
)


@pytest.fixture
def shard(tmp_path, monkeypatch):
    """The folder of a shard in the staging area of this Airflow."""
    monkeypatch.setenv("AIRFLOW__GREENNODE__STAGING", f"file://{tmp_path}/staging")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/base/")
    assert conf.get("api", "base_url").startswith("https://airflow.example")
    folder = run_folder(f"file://{tmp_path}/staging", "tickets", RUN_ID).shard("abc")
    folder.path.mkdir(parents=True)
    return folder


@pytest.fixture
def send(shard):
    def sent(server="maas-llm-aiplatform-hcm.api.vngcloud.vn"):
        write_json(shard.receipt, Receipt("abc", "created", "file-1", server, "batch/1 x", created_at=time.time()))

    return sent


def submit_task(shard, task_id="attempt_1.submit_batch"):
    return GreenNodeSubmitBatchOperator(task_id=task_id, shard=str(shard))


def test_a_batch_is_linked_as_the_connection_says_once_there_is_one(shard, send, set_connection) -> None:
    extra = json.dumps({"batch_url": "https://console.example/batches/{batch_id}?tab=1"})
    set_connection(host="https://api.example/v1", password="secret", extra=extra)
    task = submit_task(shard)
    assert BatchLink().get_link(task, ti_key=KEY) == ""
    send()
    assert BatchLink().get_link(task, ti_key=KEY) == "https://console.example/batches/batch%2F1%20x?tab=1"


def test_without_a_template_only_greennodes_own_batches_lead_to_its_console(shard, send, set_connection) -> None:
    set_connection(host="https://api.example/v1", password="secret")
    send()
    assert BatchLink().get_link(submit_task(shard), ti_key=KEY) == "https://aiplatform.console.vngcloud.vn/"
    send(server="127.0.0.1")
    assert BatchLink().get_link(submit_task(shard), ti_key=KEY) == ""


def test_a_batch_that_was_given_by_its_id_is_linked_too(shard, set_connection) -> None:
    extra = json.dumps({"batch_url": "https://console.example/{batch_id}"})
    set_connection(host="https://api.example/v1", password="secret", extra=extra)
    sensor = GreenNodeBatchSensor(task_id="wait", batch_id="batch_7")
    assert BatchLink().get_link(sensor, ti_key=KEY) == "https://console.example/batch_7"
    assert RunLink().get_link(sensor, ti_key=KEY) == ""


@pytest.mark.parametrize("operator", [GreenNodeSubmitBatchOperator, GreenNodeCollectResultsOperator])
def test_a_shards_tasks_link_their_runs_page_and_files(shard, operator) -> None:
    task = operator(task_id="attempt_1.task", shard=str(shard))
    assert RunLink().get_link(task, ti_key=KEY) == f"https://airflow.example/base{PAGE}"
    assert StagingLink().get_link(task, ti_key=KEY) == f"https://airflow.example/base{PAGE}#report"


def test_the_report_links_the_page_of_its_own_job_where_a_dag_has_several(shard) -> None:
    alone = GreenNodeReportOperator(task_id="report", job=JOB)
    assert RunLink().get_link(alone, ti_key=KEY) == f"https://airflow.example/base{PAGE}"
    grouped = GreenNodeReportOperator(task_id="outer.labels.report", job=JOB)
    assert RunLink().get_link(grouped, ti_key=KEY) == f"https://airflow.example/base{PAGE}&group=outer.labels"


def test_a_shard_that_is_no_pipelines_has_no_page(shard, tmp_path) -> None:
    task = submit_task(f"file://{tmp_path}/elsewhere/abc", task_id="submit")
    assert RunLink().get_link(task, ti_key=KEY) == ""


def test_a_connection_that_is_gone_is_no_link_and_no_error(shard, send, monkeypatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_GREENNODE_DEFAULT", raising=False)
    send()
    assert BatchLink().get_link(submit_task(shard), ti_key=KEY) == ""


def test_every_task_of_a_shard_and_the_report_have_their_links() -> None:
    def names(operator):
        return [link.name for link in operator.operator_extra_links]

    of_shards = ["Batch at GreenNode", "Run and report", "Staging folder"]
    for operator in (GreenNodeSubmitBatchOperator, GreenNodeBatchSensor, GreenNodeCollectResultsOperator):
        assert names(operator) == of_shards
    assert names(GreenNodeReportOperator) == of_shards[1:]


@pytest.mark.parametrize(
    ("task", "group", "index"),
    [
        (GreenNodeBuildRequestsOperator(task_id="labels.build_requests", job=JOB), "labels", -1),
        (GreenNodeBatchOperator(task_id="whole", job=JOB), "whole", -1),
        (GreenNodeBatchOperator(task_id="whole", job=JOB), "whole.1", 1),
    ],
)
def test_a_try_is_linked_from_the_task_that_has_asked_it(shard, task, group, index) -> None:
    link = task.operator_extra_links[-1]
    key = SimpleNamespace(dag_id="tickets", run_id=RUN_ID, map_index=index)
    assert link.get_link(task, ti_key=key) == ""
    folder = run_folder(shard.run.path.parent.parent, "tickets", RUN_ID, group=group)
    folder.path.mkdir(parents=True)
    (folder.path / "try.html").write_bytes(b"hello")
    assert link.get_link(task, ti_key=key).endswith(f"&group={group}&name=try.html")


@pytest.mark.parametrize("group", ["", "labels"])
def test_a_page_that_a_task_has_made_is_linked_once_it_is_there(shard, group) -> None:
    source = SqlSource(conn_id="db", sql="SELECT 1")
    task_id = f"{group}.page" if group else "page"
    task = GreenNodePageOperator(task_id=task_id, source=source, template="page.html.j2")
    (link,) = task.operator_extra_links
    assert link.get_link(task, ti_key=KEY) == ""
    root = shard.run.path.parent.parent
    folder = run_folder(root, "tickets", RUN_ID, group=group or None)
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder.path / "page.html").write_bytes(b"hello")
    told = link.get_link(task, ti_key=KEY)
    assert told.startswith("https://airflow.example/base/greennode/report?dag_id=tickets&run_id=manual__2026")
    assert told.endswith(f"{'&group=labels' if group else ''}&name=page.html")
