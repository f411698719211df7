"""Outages: Airflow's components, the API and the staging area fail for a while; and batches that end badly."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from greennode_faults.airflow_case import AirflowCase
from greennode_faults.airflow_kills import CHAT, CONTENT, CREATE, POLL, UPLOAD
from greennode_faults.airflow_scene import COLLECT, SUBMIT, WAIT, Scene
from greennode_faults.airflow_stage import SHARDS

_EVERYTHING = (
    UPLOAD, CREATE, POLL, CONTENT, CHAT, "GET /files", "GET /files/{id}", "GET /batches", "GET /models",
    "POST /batches/{id}/cancel", "DELETE /files/{id}",
)  # fmt: skip


def _waiting(scene: Scene, *, seconds: float) -> None:
    scene.arm({"kind": "stuck", "status": "in_progress", "count": SHARDS, "seconds": seconds, "fraction": 0.5})
    scene.start()
    scene.until(WAIT, "deferred")


def _component_killed(scene: Scene, *, component: str) -> None:
    _waiting(scene, seconds=15)
    scene.kill_component(component)
    scene.restore()
    scene.finish()
    scene.expect(scene.paid()["batches_created"] == SHARDS, "a batch was created again")


def _scheduler_killed_at_create(scene: Scene) -> None:
    """The scheduler's workers die with it, and no process is left that could fail their tasks."""
    scene.arm({"kind": "timeout", "endpoint": CREATE, "count": SHARDS, "done": True})
    scene.start()
    scene.until_counted("batches_created")
    scene.kill_component("scheduler")
    scene.restore()
    scene.finish()
    scene.expect(scene.paid()["batches_created"] == SHARDS, "a batch was created again")


def _rate_limited(scene: Scene) -> None:
    scene.arm(
        *(
            {"kind": "status", "endpoint": one, "count": None, "status": 429, "headers": {"Retry-After": "2"}}
            for one in _EVERYTHING
        )
    )
    scene.start()
    scene.until_called("GET /models", 3)
    scene.release()
    scene.finish()


def _gateway_down(scene: Scene) -> None:
    _waiting(scene, seconds=5)
    scene.arm(
        *(
            fault
            for one in _EVERYTHING
            for fault in (
                {"kind": "status", "endpoint": one, "count": 2, "status": 503, "shape": "html"},
                {"kind": "reset_before", "endpoint": one, "count": 2},
            )
        )
    )
    scene.finish()


def _storage_down_in_wait(scene: Scene) -> None:
    """The triggerer still ends the waits, and only the tasks after them are tried again."""
    _waiting(scene, seconds=30)
    scene.stop_storage()
    scene.until(WAIT, "success")
    scene.until(COLLECT, "up_for_retry", times=1)
    scene.restore()
    scene.finish()
    scene.expect({task["try_number"] for task in scene.tasks(WAIT)} == {1}, "a wait was started again")


def _storage_down_before_wait(scene: Scene) -> None:
    _waiting(scene, seconds=60)
    scene.stop_storage()
    scene.clear(WAIT)
    scene.until(WAIT, "up_for_retry", times=1)
    scene.restore()
    scene.finish()
    scene.expect(scene.called("POST /batches/{id}/cancel") == 0, "a batch was cancelled")
    scene.expect(scene.paid()["batches_created"] == SHARDS, "a batch was created again")


def _storage_down_in_collect(scene: Scene) -> None:
    scene.arm({"kind": "slow", "endpoint": CONTENT, "count": SHARDS, "bytes_per_second": 2000})
    scene.start()
    scene.until_called(CONTENT, 1)
    scene.stop_storage()
    scene.until(COLLECT, "up_for_retry", times=1)
    scene.restore()
    scene.finish()


def _expired_and_missing(scene: Scene) -> None:
    scene.arm({"kind": "expired"}, {"kind": "missing", "rate": 0.35, "batches": SHARDS})
    scene.start()
    scene.finish()
    states = {task["state"] for task in scene.tasks("attempt_2.collect_results")}
    scene.expect(states == {"success"}, f"attempt 2 was {states or 'not made'}")


def _no_capacity(scene: Scene) -> None:
    scene.arm({"kind": "failed", "code": "token_limit_exceeded", "count": SHARDS})
    scene.start()
    scene.finish()


def _too_many(scene: Scene) -> None:
    scene.arm({"kind": "status", "endpoint": CREATE, "status": 429, "count": SHARDS})
    scene.start()
    scene.until(SUBMIT, "deferred")
    scene.finish()
    scene.expect(scene.paid()["batches_created"] == SHARDS, "a batch was created again")


def cases() -> Iterator[AirflowCase]:
    """All of them."""
    yield AirflowCase(
        group="batch", name="one expired half done, lines missing in both", act=_expired_and_missing, quick=True
    )
    yield AirflowCase(group="batch", name="refused for lack of capacity after the create", act=_no_capacity)
    yield AirflowCase(group="batch", name="429 at create", act=_too_many)
    yield AirflowCase(group="storm", name="429 on everything, from the start", act=_rate_limited)
    yield AirflowCase(group="storm", name="503 and resets on everything, while batches wait", act=_gateway_down)
    for component in ("triggerer", "scheduler"):
        yield AirflowCase(
            group="kill -9",
            name=f"the {component}, while batches wait",
            act=partial(_component_killed, component=component),
            quick=component == "triggerer",
            alone=True,
        )
    yield AirflowCase(
        group="kill -9", name="the scheduler, before the receipts", act=_scheduler_killed_at_create, alone=True
    )
    yield AirflowCase(group="staging", name="S3 gone while batches wait", act=_storage_down_in_wait, alone=True)
    yield AirflowCase(group="staging", name="S3 gone when a wait begins", act=_storage_down_before_wait, alone=True)
    yield AirflowCase(group="staging", name="S3 gone in mid-collect", act=_storage_down_in_collect, alone=True)
