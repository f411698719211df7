"""Alerts: somebody hears of a run that takes longer than it should, by Airflow's deadlines."""

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

    after: counted from the moment that the run was queued; the run goes on whatever its callback does. callback: one
    of Airflow's, for a mail or a message: AsyncCallback runs in the triggerer, SyncCallback on a worker. By default
    the triggerer logs an error and counts the metric `greennode.runs_late`.
    """
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=after, callback=callback or AsyncCallback(tell_late)
    )


async def tell_late(context: dict[str, Any]) -> None:
    """Say that a run is late."""
    run, deadline = context["dag_run"], context["deadline"]
    log.error(
        "Run %s of DAG %s was to be over at %s, and is not; see its page under GreenNode batches",
        run["dag_run_id"],
        run["dag_id"],
        deadline["deadline_time"],
    )
    RUNS_LATE.add(dag_id=run["dag_id"])
