"""Clear and mark: what a person does to a run's tasks while it is under way, and after its end."""

from __future__ import annotations

from collections.abc import Iterator

from greennode_faults.airflow_case import AirflowCase
from greennode_faults.airflow_kills import CONTENT, CREATE, POLL
from greennode_faults.airflow_scene import BUILD, COLLECT, JOIN, REPORT, RETRY, SUBMIT, WAIT, Scene
from greennode_faults.airflow_stage import SHARDS

# The shards that dags/airflow_faults.py makes.
_SHARD_REQUESTS = 17
_CANCEL = "POST /batches/{id}/cancel"


def _half_done(scene: Scene) -> None:
    """Both batches have half of their answers and make no progress."""
    scene.arm({"kind": "stuck", "status": "in_progress", "count": SHARDS, "fraction": 0.5})
    scene.start()
    scene.until(WAIT, "deferred")
    # Triggers poll for themselves: before they run, a mark reaches no trigger that could cancel.
    scene.until_polled(3 * SHARDS)
    scene.until_counted("requests_billed", SHARDS * (_SHARD_REQUESTS // 2))


def _wait_marked_failed(scene: Scene) -> None:
    _half_done(scene)
    scene.mark(WAIT, "failed")
    scene.until_called(_CANCEL)
    scene.finish("failed")
    scene.clear(WAIT, downstream=True)
    scene.finish()
    _asked_again(scene)


def _wait_marked_success(scene: Scene) -> None:
    _half_done(scene)
    scene.mark(WAIT, "success")
    scene.until_called(_CANCEL)
    scene.finish()
    _asked_again(scene)


def _no_trigger_begins(scene: Scene) -> None:
    """Both batches have half of their answers, and no triggerer has begun the waits: none learns of a mark."""
    scene.kill_component("triggerer")
    scene.arm({"kind": "stuck", "status": "in_progress", "count": SHARDS, "fraction": 0.5})
    scene.start()
    scene.until(WAIT, "deferred")
    scene.until_counted("requests_billed", SHARDS * (_SHARD_REQUESTS // 2))


def _wait_marked_success_before(scene: Scene) -> None:
    _no_trigger_begins(scene)
    scene.mark(WAIT, "success")
    scene.until_called(_CANCEL)
    scene.restore()
    scene.finish()
    _asked_again(scene)


def _run_marked_failed_before(scene: Scene) -> None:
    _no_trigger_begins(scene)
    scene.mark_run("failed")
    scene.finish("failed")
    scene.expect(scene.called(_CANCEL) >= SHARDS, "the batches of a run that was marked go on")
    scene.restore()
    scene.clear(SUBMIT, downstream=True)
    scene.finish()
    _asked_again(scene)


def _asked_again(scene: Scene) -> None:
    scene.expect(
        bool(scene.tasks("attempt_2.collect_results")) and scene.paid()["batches_created"] > SHARDS,
        "the rest was not asked again",
    )


def _wait_cleared(scene: Scene) -> None:
    scene.arm({"kind": "stuck", "status": "in_progress", "count": SHARDS, "seconds": 12, "fraction": 0.5})
    scene.start()
    scene.until(WAIT, "deferred")
    scene.clear(WAIT)
    scene.until_tried(WAIT)
    scene.finish()
    scene.expect(scene.called(_CANCEL) == 0, "a batch was cancelled")
    scene.expect(scene.paid()["batches_created"] == SHARDS, "a batch was created again")


def _build_cleared(scene: Scene) -> None:
    scene.arm({"kind": "stuck", "status": "in_progress", "count": SHARDS, "seconds": 12, "fraction": 0.5})
    scene.start()
    scene.until(WAIT, "deferred")
    scene.clear(BUILD)
    scene.until_tried(BUILD, times=1)
    scene.finish()
    scene.expect(scene.paid()["batches_created"] == SHARDS, "a batch was created again")


def _submit_cleared(scene: Scene) -> None:
    scene.arm({"kind": "timeout", "endpoint": CREATE, "count": SHARDS, "done": True})
    scene.start()
    scene.until_counted("batches_created")
    scene.clear(SUBMIT)
    scene.until_tried(SUBMIT)
    scene.finish()
    scene.expect(scene.paid()["batches_created"] == SHARDS, "a batch was created again")


def _submit_marked_failed(scene: Scene) -> None:
    scene.arm({"kind": "timeout", "endpoint": CREATE, "count": SHARDS, "done": True})
    scene.start()
    scene.until_counted("batches_created")
    scene.mark(SUBMIT, "failed")
    scene.finish("failed")
    scene.clear(SUBMIT, downstream=True)
    scene.finish()
    scene.expect(scene.paid()["batches_created"] == SHARDS, "a batch was created again")


def _collect_marked_failed(scene: Scene) -> None:
    scene.arm({"kind": "slow", "endpoint": CONTENT, "count": SHARDS, "bytes_per_second": 100})
    scene.start()
    scene.until_called(CONTENT)
    scene.mark(COLLECT, "failed")
    scene.finish("failed")
    paid = scene.paid()
    scene.clear(COLLECT, downstream=True)
    scene.finish()
    scene.expect(scene.paid() == paid, "something was paid for or sent again")


def _poll_cleared(scene: Scene) -> None:
    scene.arm({"kind": "timeout", "endpoint": POLL, "count": SHARDS})
    scene.start()
    scene.until_called(POLL)
    scene.clear(WAIT)
    scene.until_tried(WAIT)
    scene.finish()
    scene.expect(scene.called(_CANCEL) == 0, "a batch was cancelled")


def _all_cleared(scene: Scene) -> None:
    scene.start()
    scene.finish()
    paid = scene.paid()
    for task_id in (BUILD, SUBMIT, WAIT, COLLECT, RETRY, JOIN, REPORT):
        scene.clear(task_id)
        scene.finish()
        scene.expect(scene.paid() == paid, f"something was paid for or sent again after {task_id} was cleared")
    scene.clear(BUILD, downstream=True)
    scene.finish()
    scene.expect(scene.paid() == paid, "something was paid for or sent again after all was cleared")


def _run_marked_failed(scene: Scene) -> None:
    _half_done(scene)
    scene.mark_run("failed")
    scene.until_called(_CANCEL)
    scene.finish("failed")
    # Only the clear that the run's last task names makes the run good, and no event is sent before.
    scene.clear_run(only_failed=True)
    scene.finish("failed")
    scene.expect(scene.events() == 0, "a failed run reported its target as new")
    scene.clear(SUBMIT, downstream=True)
    scene.finish()
    _asked_again(scene)
    scene.expect(scene.events() == 1, "the run did not report its target as new")


def _run_marked_success(scene: Scene) -> None:
    _half_done(scene)
    scene.mark_run("success")
    scene.until_called(_CANCEL)
    scene.finish("failed")
    scene.expect(scene.events() == 0, "a failed run reported its target as new")
    scene.clear(SUBMIT, downstream=True)
    scene.finish()
    _asked_again(scene)


def _run_marked_failed_in_build(scene: Scene) -> None:
    scene.lock(f"LOCK TABLE {scene.lane.source} IN ACCESS EXCLUSIVE MODE")
    scene.start()
    scene.until_blocked(1)
    scene.mark_run("failed")
    scene.finish("failed")
    scene.release()
    scene.clear_run(only_failed=True)
    # A skipped task stays skipped: built, and nothing sent.
    scene.finish("failed")
    scene.expect(scene.paid()["batches_created"] == 0, "a batch was created")
    scene.clear(BUILD, downstream=True)
    scene.finish()


def _report_marked_failed(scene: Scene) -> None:
    scene.start()
    scene.finish()
    scene.lock(f"LOCK TABLE {scene.lane.target} IN ACCESS EXCLUSIVE MODE")
    scene.clear(REPORT, downstream=True)
    scene.until_blocked(1)
    scene.mark(REPORT, "failed")
    scene.finish("failed")
    scene.release()
    paid = scene.paid()
    scene.clear_run(only_failed=True)
    scene.finish()
    scene.expect(scene.paid() == paid, "something was paid for or sent again")


def _cleared_and_not_built(scene: Scene) -> None:
    scene.start()
    scene.finish()
    paid = scene.paid()
    scene.lock(f"LOCK TABLE {scene.lane.source} IN ACCESS EXCLUSIVE MODE")
    scene.clear_run()
    scene.until_blocked(1)
    scene.mark(BUILD, "failed")
    scene.finish("failed")
    scene.expect(scene.events() == 1, "a failed run reported its target as new")
    scene.release()
    scene.clear_run(only_failed=True)
    scene.finish()
    scene.expect(scene.paid() == paid, "something was paid for or sent again")
    scene.expect(scene.events() == 2, "the run did not report its target as new")  # noqa: PLR2004


def cases() -> Iterator[AirflowCase]:
    """All of them."""
    yield AirflowCase(group="clear", name="wait_for_batch while deferred", act=_wait_cleared)
    yield AirflowCase(group="clear", name="wait_for_batch in its own poll", act=_poll_cleared)
    yield AirflowCase(group="clear", name="build_requests while batches wait", act=_build_cleared)
    yield AirflowCase(group="clear", name="submit_batch, its batch accepted, no reply", act=_submit_cleared)
    yield AirflowCase(group="clear", name="each task after the end, then all", act=_all_cleared)
    yield AirflowCase(group="mark", name="wait_for_batch failed while deferred, then cleared", act=_wait_marked_failed)
    yield AirflowCase(group="mark", name="wait_for_batch success while deferred", act=_wait_marked_success)
    yield AirflowCase(
        group="mark",
        name="wait_for_batch success before its trigger",
        act=_wait_marked_success_before,
        alone=True,
    )
    yield AirflowCase(
        group="mark", name="submit_batch failed, its batch accepted, then cleared", act=_submit_marked_failed
    )
    yield AirflowCase(
        group="mark", name="collect_results failed in mid-download, then cleared", act=_collect_marked_failed
    )
    yield AirflowCase(group="run", name="marked failed while batches wait, then cleared", act=_run_marked_failed)
    yield AirflowCase(
        group="run",
        name="marked failed before any trigger, then cleared",
        act=_run_marked_failed_before,
        alone=True,
    )
    yield AirflowCase(group="run", name="marked success while batches wait, then cleared", act=_run_marked_success)
    yield AirflowCase(
        group="run", name="marked failed in build_requests, then cleared", act=_run_marked_failed_in_build
    )
    yield AirflowCase(group="run", name="its report marked failed, then cleared", act=_report_marked_failed)
    yield AirflowCase(group="run", name="cleared, and its build marked failed", act=_cleared_and_not_built)
