"""A whole job as one task: killed, paused, cleared and marked where it sends, waits, collects and writes.

`@task.greennode_batch` takes the same steps over the rows of a function, which a retry calls again; it has fewer cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from greennode_faults.airflow_case import Act, AirflowCase
from greennode_faults.airflow_kills import CONTENT, CREATE, UPLOAD, Boundary
from greennode_faults.airflow_scene import Scene
from greennode_faults.airflow_stage import SHARDS

TASK = "whole_job"
_OPERATOR, _FUNCTION = "faults_whole_job", "faults_function"
_NAMES = {_OPERATOR: "a whole job", _FUNCTION: "a function's rows"}
_CANCEL = "POST /batches/{id}/cancel"
_EVER = None


def _held_at(scene: Scene, endpoint: str, *, done: bool) -> None:
    scene.arm({"kind": "timeout", "endpoint": endpoint, "count": _EVER, "done": done})
    scene.start()
    scene.until_called(endpoint, 1)


def _in_download(scene: Scene) -> None:
    scene.arm({"kind": "slow", "endpoint": CONTENT, "count": SHARDS, "bytes_per_second": 100})
    scene.start()
    scene.until_called(CONTENT, 1)


def _in_write(scene: Scene) -> None:
    scene.start()
    scene.until_counted("batches_created")
    scene.lock(
        f"INSERT INTO {scene.lane.target} (id, status, run_id) SELECT id, 'other', 'other' FROM {scene.lane.source} "  # noqa: S608
        "WHERE id % 7 = 6"
    )
    scene.until_blocked(1)


def _half_done(scene: Scene, **more: object) -> None:
    """Both batches have half of their answers."""
    scene.arm({"kind": "stuck", "status": "in_progress", "count": SHARDS, "fraction": 0.5, **more})
    scene.start()
    scene.until(TASK, "deferred", times=1)
    # The trigger looks for itself: before it runs, a mark reaches nobody who could cancel.
    scene.until_polled(3 * SHARDS)


def _cleared(scene: Scene) -> None:
    _half_done(scene, seconds=12)
    scene.clear(TASK)
    scene.until_tried(TASK, times=1)
    scene.finish()
    scene.expect(scene.called(_CANCEL) == 0, "a batch was cancelled")
    scene.expect(scene.paid()["batches_created"] == SHARDS, "a batch was created again")


def _cleared_after_the_end(scene: Scene) -> None:
    scene.start()
    scene.finish()
    paid = scene.paid()
    scene.clear(TASK)
    scene.finish()
    scene.expect(scene.paid() == paid, "something was paid for or sent again")


def _marked(scene: Scene, state: str) -> None:
    _half_done(scene)
    scene.mark(TASK, state)
    scene.until_called(_CANCEL)
    # Airflow takes a person's word for the only task of a run.
    scene.finish(state)
    scene.expect(scene.events() == 0, "a run that was marked said that its target is new")
    scene.clear(TASK)
    scene.finish()
    scene.expect(scene.paid()["batches_created"] > SHARDS, "the rest was not asked again")


_STORED = ("its first upload stored", partial(_held_at, endpoint=UPLOAD, done=True))
_ACCEPTED = ("its first create accepted", partial(_held_at, endpoint=CREATE, done=True))
_IN_DOWNLOAD = ("in mid-download", _in_download)
_IN_WRITE = ("in mid-write to the target", _in_write)
_KILLED = {_OPERATOR: (_STORED, _ACCEPTED, _IN_DOWNLOAD, _IN_WRITE), _FUNCTION: (_ACCEPTED, _IN_WRITE)}
_PAUSED = {_OPERATOR: (_STORED, _IN_DOWNLOAD, _IN_WRITE), _FUNCTION: (_IN_DOWNLOAD,)}
_MARKED = {_OPERATOR: ("failed", "success"), _FUNCTION: ("failed",)}


def _boundary(dag_id: str, name: str, reach: Act) -> Boundary:
    return Boundary(f"{_NAMES[dag_id]}, {name}", TASK, reach, times=1, dag_id=dag_id)


def cases() -> Iterator[AirflowCase]:
    """All of them."""
    for dag_id, what in _NAMES.items():
        for one in (_boundary(dag_id, *point) for point in _KILLED[dag_id]):
            yield AirflowCase(group="kill -9", name=one.name, act=one.kill, dag_id=dag_id)
        for one in (_boundary(dag_id, *point) for point in _PAUSED[dag_id]):
            yield AirflowCase(group="zombie", name=one.name, act=one.pause, dag_id=dag_id)
        yield AirflowCase(group="clear", name=f"{what}, while deferred", act=_cleared, dag_id=dag_id)
        yield AirflowCase(group="clear", name=f"{what}, after its end", act=_cleared_after_the_end, dag_id=dag_id)
        for state in _MARKED[dag_id]:
            act = partial(_marked, state=state)
            yield AirflowCase(group="mark", name=f"{what}, {state} while deferred", act=act, dag_id=dag_id)
