"""Kills and zombies: a worker is stopped at a boundary of the pipeline, for good or until its retry has begun.

The pipeline does not know about it: the worker is held there by the server, which does not reply, or by the database,
which does not grant a lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from greennode_faults.airflow_case import Act, AirflowCase
from greennode_faults.airflow_scene import BUILD, COLLECT, JOIN, REPORT, SUBMIT, WAIT, Scene
from greennode_faults.airflow_stage import SHARDS

UPLOAD, CREATE, POLL = "POST /files", "POST /batches", "GET /batches/{id}"
CONTENT, CHAT = "GET /files/{id}/content", "POST /chat/completions"
_CANCEL = "POST /batches/{id}/cancel"
_EVER = None


@dataclass(frozen=True)
class Boundary:
    """A point in the pipeline. `reach` starts a run, and returns when its workers are held there."""

    name: str
    task_id: str
    reach: Act
    times: int = SHARDS
    dag_id: str = "faults"
    quick: bool = False

    def kill(self, scene: Scene) -> None:
        """Kill the workers, release what held them, and leave the rest to Airflow."""
        self.reach(scene)
        scene.kill(self.task_id)
        scene.release()
        scene.finish()
        scene.expect(
            all(task["try_number"] > 1 for task in scene.tasks(self.task_id)), "the kill did not make for a second try"
        )

    def pause(self, scene: Scene) -> None:
        """Pause the workers until their tasks are tried again, then let them continue."""
        self.reach(scene)
        scene.pause(self.task_id)
        scene.release()
        scene.until_tried(self.task_id, times=self.times)
        scene.wake()
        scene.finish()


def _held_at(scene: Scene, endpoint: str, *, times: int = SHARDS, done: bool = False) -> None:
    scene.arm({"kind": "timeout", "endpoint": endpoint, "count": _EVER, "done": done})
    scene.start()
    scene.until_called(endpoint, times)


def _stored(scene: Scene) -> None:
    _held_at(scene, UPLOAD, done=True)
    scene.until_counted("files_uploaded")


def _accepted(scene: Scene) -> None:
    _held_at(scene, CREATE, done=True)
    scene.until_counted("batches_created")


def _accepted_late(scene: Scene) -> None:
    """The create is under way for longer than Airflow waits for a heartbeat."""
    scene.arm({"kind": "slow", "endpoint": CREATE, "count": SHARDS, "seconds": 15})
    scene.start()
    scene.until_called(CREATE)


def _in_build(scene: Scene) -> None:
    scene.lock(f"LOCK TABLE {scene.lane.source} IN ACCESS EXCLUSIVE MODE")
    scene.start()
    scene.until_blocked(1)


def _in_download(scene: Scene) -> None:
    scene.arm({"kind": "slow", "endpoint": CONTENT, "count": SHARDS, "bytes_per_second": 100})
    scene.start()
    scene.until_called(CONTENT)


def _in_write(scene: Scene) -> None:
    """Rows of both shards exist already, uncommitted: the upsert has written some and waits at the next."""
    scene.start()
    scene.until(BUILD, "success", times=1)
    scene.lock(
        f"INSERT INTO {scene.lane.target} (id, status, run_id) SELECT id, 'other', 'other' FROM {scene.lane.source} "  # noqa: S608
        "WHERE id % 7 = 6"
    )
    scene.until_blocked()


def _in_report(scene: Scene) -> None:
    scene.start()
    scene.finish()
    scene.lock(f"LOCK TABLE {scene.lane.target} IN ACCESS EXCLUSIVE MODE")
    scene.clear(REPORT)
    scene.until_blocked(1)


_IN_BUILD = Boundary("in build_requests, in mid-read", BUILD, _in_build, times=1)
_AT_CANARY = Boundary(
    "at the canary, asked and not yet answered",
    BUILD,
    partial(_held_at, endpoint=CHAT, times=1, done=True),
    times=1,
    dag_id="faults_canary",
)
_IN_UPLOAD = Boundary("in mid-upload", SUBMIT, partial(_held_at, endpoint=UPLOAD))
_STORED = Boundary("after the upload was stored", SUBMIT, _stored)
_SENT = Boundary("a create under way, never accepted", SUBMIT, partial(_held_at, endpoint=CREATE))
_ACCEPTED = Boundary("after the create, before its receipt", SUBMIT, _accepted, quick=True)
_ACCEPTED_LATE = Boundary("a create under way, accepted later", SUBMIT, _accepted_late, quick=True)
_IN_POLL = Boundary("in the wait's own poll", WAIT, partial(_held_at, endpoint=POLL))
_IN_DOWNLOAD = Boundary("in mid-download", COLLECT, _in_download)
_IN_WRITE = Boundary("in mid-write to the target", JOIN, _in_write, quick=True)
_IN_REPORT = Boundary("in report", REPORT, _in_report, times=1)

_KILLED = (
    _IN_BUILD,
    _AT_CANARY,
    _IN_UPLOAD,
    _STORED,
    _ACCEPTED,
    _IN_POLL,
    _IN_DOWNLOAD,
    _IN_WRITE,
    _IN_REPORT,
)
_PAUSED = (_STORED, _ACCEPTED_LATE, _IN_DOWNLOAD, _IN_WRITE)


def _asleep_with_a_claim(scene: Scene) -> None:
    """The paused workers wake up while their retries search for the batches that they may have created."""
    scene.pause_at_claim()
    scene.expect(scene.called(CREATE) == 0, "the worker was not held in time")
    scene.until_tried(SUBMIT)
    scene.until_void()
    scene.wake()
    scene.finish()
    scene.expect(scene.paid()["batches_created"] == SHARDS, "a batch was created twice")


def _taken_over(scene: Scene) -> None:
    """The creates are accepted after their retries stopped searching for them, so each shard has two batches."""
    scene.arm(
        {"kind": "slow", "endpoint": CREATE, "count": SHARDS, "seconds": 110},
        {"kind": "stuck", "status": "validating", "seconds": 40, "count": 2 * SHARDS},
    )
    scene.start()
    scene.until_called(CREATE)
    scene.pause(SUBMIT)
    scene.until(SUBMIT, "success")
    scene.until_counted("batches_created", 2 * SHARDS)
    scene.wake()
    scene.finish()
    scene.expect(scene.called(_CANCEL) >= SHARDS, "what was created twice was not cancelled")


def cases() -> Iterator[AirflowCase]:
    """All of them."""
    for index in _KILLED:
        yield AirflowCase(group="kill -9", name=index.name, act=index.kill, dag_id=index.dag_id, quick=index.quick)
    for index in _PAUSED:
        yield AirflowCase(
            group="zombie", name=index.name, act=index.pause, dag_id=index.dag_id, quick=index is _ACCEPTED_LATE
        )


def long_cases() -> Iterator[AirflowCase]:
    """Cases whose retry searches for a create that was never accepted until it is certain: minutes of waits."""
    yield AirflowCase(group="kill -9", name=_SENT.name, act=_SENT.kill, dag_id="faults_aside")
    yield AirflowCase(
        group="zombie", name="asleep between claim and create", act=_asleep_with_a_claim, dag_id="faults_aside"
    )
    yield AirflowCase(
        group="zombie", name="a create accepted after the takeover", act=_taken_over, dag_id="faults_aside"
    )
