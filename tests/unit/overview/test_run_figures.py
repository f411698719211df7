import time

import pytest

from greennode_batch.api.profile import ApiProfile
from greennode_batch.build.retry import build_retry
from greennode_batch.overview.live_batches import LiveBatch
from greennode_batch.overview.run_figures import run_figures, shard_figures
from greennode_batch.overview.staged_run import StagedRun
from greennode_batch.prices import Price, Prices
from greennode_batch.report import RunReport
from greennode_batch.staging import write_json

MODEL = "google/gemma-4-31b-it"
NOW = 2_000_000_000.0
PRICES = Prices(by_model={MODEL: Price(1000.0, 2000.0)}, currency="VND", batch_discount=0.5)


def figures(scene, live=None, *, is_over=False, prices=PRICES, now=None):
    return run_figures(scene.staged(), live or {}, prices, is_over=is_over, now=now or time.time())


def live(done, failed=0, *, is_over=False):
    return LiveBatch("in_progress", is_over=is_over, done=done, failed=failed, seen_at=NOW)


def texts(count):
    return [(number, f"text {number}") for number in range(count)]


def test_a_run_that_is_built_has_its_rows_and_nothing_done(make_scene):
    found = figures(make_scene([*texts(25), (25, "text 1")]))
    assert (found.rows, found.requests, found.asked, found.done) == (26, 25, 25, 0)
    assert found.stages == {"built": 3}
    assert (found.cost, found.unpriced, found.seconds_left) == (None, (), None)


def test_a_run_with_no_files_at_all_is_all_zeros():
    found = run_figures(StagedRun("nowhere"), {}, None, is_over=False, now=NOW)
    assert (found.rows, found.asked, found.done, found.shards, found.stages) == (0, 0, 0, 0, {})


def test_what_is_under_way_counts_as_the_server_has_said(make_scene):
    scene = make_scene(texts(25))
    scene.submit()
    first, second, _ = [shard.batch_id for shard in scene.staged().shards]
    found = figures(scene, {first: live(7, 1), second: live(2)})
    assert (found.done, found.asked, found.succeeded, found.unheard) == (10, 25, 0, 1)
    assert found.stages == {"sent": 3}


def test_counts_that_do_not_add_up_never_exceed_what_was_asked(make_scene):
    scene = make_scene(texts(5))
    scene.submit()
    (shard,) = scene.staged().shards
    found = shard_figures(shard, {shard.batch_id: live(500, 700)}, None, now=NOW)
    assert (found.done, found.failed) == (5, 5)


def test_time_left_goes_by_the_slowest_batch_and_by_the_rate_so_far(make_scene):
    scene = make_scene(texts(20))
    scene.submit(age=100)
    first, second = (shard.batch_id for shard in scene.staged().shards)
    assert figures(scene, {first: live(8), second: live(2)}).seconds_left == pytest.approx(400, rel=0.1)
    assert figures(scene, {first: live(0), second: live(0)}).seconds_left is None
    assert figures(scene).seconds_left is None


def test_what_is_collected_has_statuses_tokens_and_a_cost(make_scene, emulator):
    scene = make_scene(texts(25))
    emulator.faults([{"kind": "line_error", "status": 400, "count": 2, "batches": 1}])
    scene.submit()
    scene.collect()
    found = figures(scene)
    assert found.statuses == {"succeeded": 23, "failed": 2}
    assert (found.done, found.succeeded, found.failed) == (25, 23, 2)
    ledger = emulator.ledger(summary=True)
    assert found.prompt_tokens == ledger["prompt_tokens"] > 0
    assert found.completion_tokens == ledger["completion_tokens"] > 0
    real_time = (found.prompt_tokens * 1000 + found.completion_tokens * 2000) / 1_000_000
    assert found.cost.amount == found.cost.saving == pytest.approx(real_time / 2)


def test_a_model_without_a_price_has_no_cost_and_is_named(make_scene):
    scene = make_scene(texts(3))
    scene.submit()
    scene.collect()
    for prices in (None, Prices(by_model={})):
        found = figures(scene, prices=prices)
        assert (found.cost, found.unpriced) == (None, (MODEL,))


def test_what_is_asked_again_is_asked_twice_and_fails_once(make_scene, emulator):
    scene = make_scene(texts(20))
    emulator.faults([{"kind": "line_error", "status": 500, "count": 4, "batches": 1}])
    scene.submit()
    scene.collect()
    emulator.disarm()
    build_retry(scene.job, scene.run, scene.plan, attempt=2, profile=ApiProfile())
    waiting = figures(scene)
    assert (waiting.requests, waiting.asked, waiting.done, waiting.attempts) == (20, 24, 20, 2)
    assert (waiting.statuses, waiting.failed) == ({"succeeded": 16}, 0)


def test_a_run_that_is_over_is_counted_by_its_report(make_scene):
    scene = make_scene(texts(3))
    report = RunReport("tickets", "run_1", 4, 3, 1, {"succeeded": 3, "unsent": 1}, 50, 20)
    write_json(scene.run.report, report)
    found = figures(scene, is_over=True)
    assert (found.rows, found.succeeded, found.failed, found.counts_rows) == (4, 3, 1, True)
    # It goes on, for a task of it was cleared: then the report is of what was before.
    assert figures(scene).counts_rows is False


def test_a_removed_run_still_tells_what_its_report_does(make_scene):
    scene = make_scene(texts(3))
    report = RunReport("tickets", "run_1", 4, 3, 1, {"succeeded": 3, "unsent": 1}, 50, 20)
    write_json(scene.run.report, report)
    write_json(scene.run.removed, {"removed_at": NOW})
    scene.run.plan.unlink()
    found = figures(scene)
    assert (found.rows, found.requests, found.asked, found.done, found.shards) == (4, 3, 3, 3, 1)
    assert (found.prompt_tokens, found.completion_tokens) == (50, 20)


def test_every_stage_of_a_shard_is_told_apart(make_scene):
    scene = make_scene(texts(50))
    shards = scene.shards
    scene.submit()
    scene.collect(shards[0])
    scene.change(shards[1], lost="forgotten")
    scene.change(shards[2], cancelled_at=NOW)
    scene.change(shards[3], state="uploaded", batch_id=None, turned_away=("batch_1",))
    assert [shard.stage for shard in scene.staged().shards] == ["collected", "lost", "cancelling", "refused", "sent"]


def test_the_connection_and_the_server_of_a_run_are_known(make_scene):
    scene = make_scene(texts(1))
    assert (scene.staged().conn_id, scene.staged().server) == ("my_connection", "")
    scene.submit()
    assert scene.staged().server == "127.0.0.1"
