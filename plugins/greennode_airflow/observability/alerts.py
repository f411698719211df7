"""Alerts: report a run that takes too long, with Airflow's deadlines."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk.definitions.callback import AsyncCallback, Callback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from greennode_airflow.observability.metrics import RUNS_LATE

log = logging.getLogger(__name__)


def late_run(after: timedelta, callback: Callback | None = None) -> DeadlineAlert:
    """A `deadline` of a DAG: `batch_table(JOB, deadline=late_run(timedelta(hours=27)))`.

    after: counted from the moment when the run was queued; the run goes on whatever its callback does. callback: an
    Airflow callback, for a mail or a message: AsyncCallback runs in the triggerer, SyncCallback on a worker. By default
    the triggerer logs an error and counts the metric `greennode.runs_late`.
    """
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=after, callback=callback or AsyncCallback(tell_late)
    )


async def tell_late(context: dict[str, Any]) -> None:
    """Log that a run is late."""
    run, deadline = context["dag_run"], context["deadline"]
    log.error(
        "Run %s of DAG %s should have ended by %s, but has not; see its page under GreenNode batches",
        run["dag_run_id"],
        run["dag_id"],
        deadline["deadline_time"],
    )
    RUNS_LATE.add(dag_id=run["dag_id"])
