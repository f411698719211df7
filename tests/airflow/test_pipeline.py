from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance

from greennode_airflow.pipeline import batch_table, described
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget

JOB = BatchJob(
    name="ask",
    source=SqlSource(conn_id="warehouse", sql="SELECT 1"),
    target=SqlTarget(conn_id="warehouse", table="answers"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{ text }}",
)
TASKS = ("build_requests", "attempt_1.submit_batch", "attempt_1.wait_for_batch", "attempt_1.collect_results", "report")


@pytest.mark.parametrize("task_id", TASKS)
def test_an_outage_of_a_quarter_of_an_hour_is_outlasted(task_id: str) -> None:
    task = batch_table(JOB).get_task(task_id)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    instance = TaskInstance(task=task, run_id="r1", dag_version_id=None)
    instance.dag_run = DagRun(dag_id="ask", run_id="r1", logical_date=moment)
    instance.end_date = moment
    waited = timedelta()
    for number in range(1, task.retries + 1):
        instance.try_number = number
        waited += instance.next_retry_datetime() - moment
    assert waited >= timedelta(minutes=15)


@pytest.mark.parametrize(
    ("doc", "name", "description"),
    [
        ("# Tickets: sort them\n\nText.", "Tickets", "sort them"),
        ("\n  # Tickets : sort, and sum: up  \nText.", "Tickets", "sort, and sum: up"),
        ("# Tickets", "Tickets", None),
        ("# Tickets:\nText", "Tickets", None),
        ("Tickets: sort them", None, None),
        ("## Tickets: sort them", None, None),
        ("docs/tickets.md", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_the_heading_of_a_dags_text_names_and_describes_it(
    doc: str | None, name: str | None, description: str | None
) -> None:
    given = described(doc)
    assert (given.get("dag_display_name"), given.get("description")) == (name, description)
    assert given.get("doc_md") == (doc or None)


def test_what_a_dag_says_itself_counts_for_more_than_its_heading() -> None:
    dag = batch_table(JOB, doc_md="# Tickets: sort them", dag_display_name="Mine")
    assert (dag.dag_id, dag.dag_display_name, dag.description) == ("ask", "Mine", "sort them")
