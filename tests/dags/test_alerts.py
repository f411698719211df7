"""A run that is late: Airflow's own deadline, and what is told when it has passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.triggers.callback import CallbackTrigger
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select
from sqlalchemy.orm import object_session

DAG = """
from datetime import timedelta
from greennode_airflow.observability.alerts import late_run
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import SqlTarget
from greennode_batch.job.sources import SqlSource

JOB = BatchJob(
    name="late",
    source=SqlSource(conn_id="warehouse", sql="SELECT * FROM questions"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{ body }}",
    target=SqlTarget(conn_id="warehouse", table="answers"),
)

dag = batch_table(JOB, deadline=late_run(timedelta(hours=27)))
"""


@pytest.fixture
def queued_run(deployment: Path, tmp_path: Path) -> Iterator[DagRun]:
    """A run of that DAG, as the scheduler makes it."""
    (tmp_path / "late.py").write_text(DAG)
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(DagBag(str(tmp_path)), "dags-folder", None)
    with create_session() as session:
        dag = DBDagBag().get_latest_version_of_dag("late", session=session)
        run = dag.create_dagrun(
            run_id="r1",
            run_after=datetime.now(UTC),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.QUEUED,
            session=session,
        )
        session.flush()
        yield run
        session.rollback()


async def test_a_run_that_is_not_over_in_time_is_told_of(
    queued_run: DagRun, statsd: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    session = object_session(queued_run)
    (deadline,) = session.scalars(select(Deadline).where(Deadline.dagrun_id == queued_run.id))
    assert deadline.deadline_time == queued_run.queued_at + timedelta(hours=27)
    # What the scheduler does when that has passed, and the triggerer then.
    deadline.handle_miss(session)
    trigger = CallbackTrigger(**deadline.callback.trigger.kwargs)
    assert [event.payload["state"] async for event in trigger.run()][-1] == "success"
    assert "Run r1 of DAG late should have ended by" in caplog.text
    assert statsd() == ["airflow.greennode.runs_late,dag_id=late:1|c"]
