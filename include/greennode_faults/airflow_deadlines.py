"""Deadlines: batches that never end in a run that has to finish by a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from greennode_faults.airflow_case import AirflowCase
from greennode_faults.airflow_scene import Scene
from greennode_faults.airflow_stage import SHARDS
from greennode_faults.stage import FINISH_BY

DAG_ID = "faults_finish_by"
_CANCEL = "POST /batches/{id}/cancel"
_HALF_DONE = {"kind": "stuck", "status": "in_progress", "seconds": None, "fraction": 0.5, "count": SHARDS}


def _cancelled(scene: Scene) -> None:
    scene.arm(_HALF_DONE)
    scene.start()
    scene.finish()
    scene.expect(scene.called(_CANCEL) == SHARDS, "not each batch was cancelled once")
    ledger, report = scene.lane.emulator.ledger(summary=True), scene.report()
    # From the build on; when Airflow comes to that is not the run's affair.
    took = timedelta(seconds=report.ended_at - report.started_at)
    scene.expect(took <= FINISH_BY, f"the run took {took}")
    live = report.live
    scene.expect(live is not None and ledger["requests_billed"] > 0, "nothing was answered live, or in a batch")
    if live is not None:
        asked = live.requests, live.prompt_tokens, live.completion_tokens
        billed = tuple(ledger[f"chat_{name}"] for name in ("requests_billed", "prompt_tokens", "completion_tokens"))
        scene.expect(asked == billed, f"live, the report has {asked}, and the server billed {billed}")
        in_all = report.prompt_tokens - live.prompt_tokens, report.completion_tokens - live.completion_tokens
        of_batches = ledger["prompt_tokens"], ledger["completion_tokens"]
        scene.expect(in_all == of_batches, f"in batches, the report has {in_all}, and the server billed {of_batches}")


def _never_cancelled(scene: Scene) -> None:
    scene.arm(_HALF_DONE, {"kind": "status", "endpoint": _CANCEL, "status": 400, "count": None})
    scene.start()
    # More rows than the job allows have no answer.
    scene.finish("failed")
    scene.expect(scene.called(_CANCEL) > 0, "no batch was cancelled")
    scene.expect(scene.paid()["chat_requests_billed"] == 0, "what the batch may bill was answered live as well")
    scene.expect(scene.events() == 0, "a run that failed said that its target is new")


def long_cases() -> Iterator[AirflowCase]:
    """Both of them. They last as long as the run may."""
    yield AirflowCase(
        group="finish_by", name="batches never end, and are cancelled", act=_cancelled, dag_id=DAG_ID, goes_live=True
    )
    yield AirflowCase(
        group="finish_by",
        name="batches never end, and cannot be cancelled",
        act=_never_cancelled,
        dag_id=DAG_ID,
        goes_live=True,
        statuses=frozenset({"expired"}),
        withheld=True,
    )
