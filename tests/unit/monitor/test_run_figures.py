import time

import msgspec
import pytest

from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.halves import split
from greennode_batch.batches.live_shard import answer_live
from greennode_batch.batches.submit import submit
from greennode_batch.collect.collect import collect_shard
from greennode_batch.monitor.answer_sample import SHOWN_ANSWERS, answer_sample
from greennode_batch.monitor.failed_rows import failed_rows
from greennode_batch.monitor.live_batches import LiveBatch
from greennode_batch.monitor.run_figures import run_figures, shard_figures
from greennode_batch.monitor.staged_run import StagedRun
from greennode_batch.retry.build_retry import build_retry
from greennode_batch.staging.folders import read_json, write_json
from greennode_batch.state.actual_cost import CostByShard
from greennode_batch.state.canaries import Canary, write_canaries
from greennode_batch.state.live_answers import LiveFolder, LiveHold, LiveProgress
from greennode_batch.state.receipts import Claim, NumberedClaim, take_claim
from greennode_batch.state.run_report import RunReport
from greennode_batch.state.split import SplitBegun, parts_of

MODEL = "google/gemma-4-31b-it"
NOW = 2_000_000_000.0
OTHER = "zai/glm-5.2"
PRICES = {MODEL: [1000, 2000], OTHER: [500, 3000]}


def figures(scene, live=None, *, is_over=False, now=None):
    return run_figures(scene.staged(), live or {}, is_over=is_over, now=now or time.time())


def live(done, failed=0, *, is_over=False):
    return LiveBatch("in_progress", "IN_PROGRESS", is_over=is_over, done=done, failed=failed, seen_at=NOW)


def texts(count):
    return [(number, f"text {number}") for number in range(count)]


def test_a_run_that_is_built_has_its_rows_and_nothing_done(make_scene):
    found = figures(make_scene([*texts(25), (25, "text 1")]))
    assert (found.rows, found.requests, found.requested, found.done) == (26, 25, 25, 0)
    assert found.stages == {"built": 3}
    assert (found.cost, found.unpriced, found.seconds_left) == (None, (), None)


def test_a_run_with_no_files_at_all_is_all_zeros():
    found = run_figures(StagedRun("nowhere"), {}, is_over=False, now=NOW)
    assert (found.rows, found.requested, found.done, found.shards, found.stages) == (0, 0, 0, 0, {})


def test_what_is_under_way_counts_as_the_server_has_said(make_scene):
    scene = make_scene(texts(25))
    scene.submit()
    first, second, _ = [shard.batch_id for shard in scene.staged().shards]
    found = figures(scene, {first: live(7, 1), second: live(2)})
    assert (found.done, found.requested, found.succeeded, found.unheard) == (10, 25, 0, 1)
    assert found.stages == {"sent": 3}


def test_counts_that_do_not_add_up_never_exceed_what_was_asked(make_scene):
    scene = make_scene(texts(5))
    scene.submit()
    staged = scene.staged()
    (shard,) = staged.shards
    found = shard_figures(staged, shard, {shard.batch_id: live(500, 700)}, now=NOW)
    assert (found.done, found.failed) == (5, 5)


def test_time_left_goes_by_the_slowest_batch_and_by_the_rate_so_far(make_scene):
    scene = make_scene(texts(20))
    scene.submit(age=100)
    first, second = (shard.batch_id for shard in scene.staged().shards)
    assert figures(scene, {first: live(8), second: live(2)}).seconds_left == pytest.approx(400, rel=0.1)
    assert figures(scene, {first: live(0), second: live(0)}).seconds_left is None
    assert figures(scene).seconds_left is None


def test_what_is_collected_has_statuses_tokens_and_a_cost(make_scene, emulator):
    scene = make_scene(texts(25), prices=PRICES)
    emulator.faults([{"kind": "line_error", "status": 400, "count": 2, "batches": 1}])
    scene.submit()
    scene.collect()
    found = figures(scene)
    assert found.statuses == {"succeeded": 23, "failed": 2}
    assert (found.done, found.succeeded, found.failed) == (25, 23, 2)
    ledger = emulator.ledger(summary=True)
    assert found.prompt_tokens == ledger["prompt_tokens"] > 0
    assert found.completion_tokens == ledger["completion_tokens"] > 0
    live_price = (found.prompt_tokens * 1000 + found.completion_tokens * 2000) / 1_000_000
    assert found.cost.amount == found.cost.saving == pytest.approx(live_price / 2)


def test_a_model_without_a_price_has_no_cost_and_is_named(make_scene):
    scene = make_scene(texts(3), prices={OTHER: [1, 1]})
    scene.submit()
    scene.collect()
    found = figures(scene)
    assert (found.cost, found.unpriced) == (None, (MODEL,))


def test_a_jobs_own_prices_are_what_its_cost_goes_by(make_scene):
    scene = make_scene(texts(3), prices={MODEL: [3000, 6000], "currency": "EUR", "batch_discount": 0.2})
    scene.submit()
    scene.collect()
    found = figures(scene)
    live_price = (found.prompt_tokens * 3000 + found.completion_tokens * 6000) / 1_000_000
    assert found.cost.amount == pytest.approx(live_price * 0.8)
    assert found.cost.saving == pytest.approx(live_price * 0.2)
    assert found.cost.currency == "EUR"


def test_the_estimate_stands_beside_the_cost_from_the_beginning_to_the_end(make_scene):
    scene = make_scene(texts(3), prices=PRICES, params={"max_tokens": 100})
    before = figures(scene).estimate
    assert before.cost > 0
    scene.submit()
    scene.collect()
    scene.account()
    assert figures(scene, is_over=True).estimate == before


def test_once_it_is_accounted_for_a_run_costs_what_its_report_says(make_scene):
    scene = make_scene(texts(25), prices=PRICES)
    scene.submit()
    scene.collect()
    made = msgspec.structs.replace(scene.account(), cost=12.5, saving=7.5, cached_tokens=40, reasoning_tokens=9)
    write_json(scene.run.report, made)
    going_on, found = figures(scene), figures(scene, is_over=True)
    assert (found.cost.amount, found.cost.saving, found.cost.currency) == (12.5, 7.5, "VND")
    assert (found.cached_tokens, found.reasoning_tokens) == (40, 9)
    # It goes on, for a task of it was cleared: then the report is of what was before.
    assert going_on.cost.amount != 12.5
    assert (going_on.cached_tokens, going_on.reasoning_tokens) == (0, 0)


def test_once_it_is_accounted_for_a_batch_costs_what_was_added_up_of_it(make_scene):
    scene = make_scene(texts(25), prices=PRICES)
    scene.submit()
    scene.collect()
    scene.account()
    actual_cost = read_json(scene.run.costs, CostByShard).shards
    dearer = tuple(msgspec.structs.replace(one, cost=float(n)) for n, one in enumerate(actual_cost, 1))
    write_json(scene.run.costs, CostByShard(dearer))
    # What was sent anew since has used something else.
    scene.change(scene.shards[2], batch_id="batch_new")
    staged = scene.staged()
    costs = [shard_figures(staged, shard, {}, now=NOW).cost.amount for shard in staged.shards]
    assert costs[:2] == [1.0, 2.0]
    assert 0 < costs[2] < 1


def test_models_without_a_price_are_told_by_the_report(make_scene):
    scene = make_scene(texts(3), model=(MODEL, OTHER), prices={MODEL: [1, 1]})
    scene.submit()
    scene.collect()
    scene.account()
    for found in (figures(scene), figures(scene, is_over=True)):
        assert (found.cost, found.unpriced) == (None, (OTHER,))


def test_rows_count_once_for_each_model_and_sample(make_scene, emulator):
    job = {"model": (MODEL, OTHER), "samples": 2, "prices": PRICES}
    scene = make_scene([*texts(6), (6, "text 1"), (7, "")], per_shard=4, **job)
    emulator.faults([{"kind": "line_error", "status": 500, "count": 3, "batches": 1}])
    scene.submit()
    built = figures(scene)
    assert built.per == ("model", "sample")
    assert (built.rows, built.unsent, built.requests, built.requested) == (8 * 4, 1 * 4, 6 * 4, 6 * 4)
    scene.collect()
    emulator.disarm()
    retry = build_retry(scene.job, scene.run, scene.plan, attempt=2, profile=ApiProfile())
    again = figures(scene)
    assert (again.requested, again.done, again.requests, again.attempts) == (6 * 4 + 3, 6 * 4, 6 * 4, 2)
    for planned in retry.shards:
        shard = scene.run.shard(planned.shard_id, attempt=2)
        submit(shard, scene.client)
        scene.collect(shard)
    scene.account()
    over = figures(scene, is_over=True)
    assert over.statuses == {"succeeded": 7 * 4, "unsent": 4}
    assert (over.rows, over.succeeded, over.failed, over.requested, over.done) == (32, 28, 4, 27, 27)
    ledger = emulator.ledger(summary=True)
    assert (over.prompt_tokens, over.completion_tokens) == (ledger["prompt_tokens"], ledger["completion_tokens"])
    staged = scene.staged()
    costs = [shard_figures(staged, shard, {}, now=NOW).cost for shard in staged.shards]
    assert over.cost.amount == pytest.approx(sum(cost.amount for cost in costs if cost))


def test_what_is_asked_again_is_asked_twice_and_fails_once(make_scene, emulator):
    scene = make_scene(texts(20))
    emulator.faults([{"kind": "line_error", "status": 500, "count": 4, "batches": 1}])
    scene.submit()
    scene.collect()
    emulator.disarm()
    build_retry(scene.job, scene.run, scene.plan, attempt=2, profile=ApiProfile())
    waiting = figures(scene)
    assert (waiting.requests, waiting.requested, waiting.done, waiting.attempts) == (20, 24, 20, 2)
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
    assert (found.rows, found.requests, found.requested, found.done, found.shards) == (4, 3, 3, 3, 1)
    assert (found.prompt_tokens, found.completion_tokens) == (50, 20)


def test_every_stage_of_a_shard_is_told_apart(make_scene):
    scene = make_scene(texts(50))
    shards = scene.shards
    scene.submit()
    scene.collect(shards[0])
    scene.change(shards[1], lost="forgotten")
    scene.change(shards[2], cancelled_at=NOW)
    scene.change(shards[3], state="uploaded", batch_id=None, over_capacity=("batch_1",))
    assert [shard.stage for shard in scene.staged().shards] == ["collected", "lost", "cancelling", "refused", "sent"]


def test_halves_stand_in_place_of_the_shard_that_was_split(make_scene):
    scene = make_scene(texts(6), per_shard=4)
    whole, other = scene.shards
    split(whole, SplitBegun(prompt_tokens=10, limit=6, words="too large"))
    first, second = parts_of(whole)
    submit(first, scene.client)
    staged = scene.staged()
    assert [(one.shard_id, one.index, one.planned_id, one.stage) for one in staged.shards] == [
        (first.shard_id, 0, whole.shard_id, "sent"),
        (second.shard_id, 0, whole.shard_id, "built"),
        (other.shard_id, 1, other.shard_id, "built"),
    ]
    assert [one.limit for one in staged.splits] == [6]
    assert (figures(scene).requests, figures(scene).requested, figures(scene).shards) == (6, 6, 3)
    scene.collect(first)
    assert len(answer_sample(scene.run, scene.staged()).rows) == 2
    assert failed_rows(scene.run, scene.staged()).searched == 0, "the other half may still be answered"
    for shard in (second, other):
        submit(shard, scene.client)
        scene.collect(shard)
    assert len(answer_sample(scene.run, scene.staged()).rows) == SHOWN_ANSWERS
    made = scene.account()
    assert (made.balanced, made.succeeded, made.split, made.enqueued_limit) == (True, 6, 1, 6)
    assert "1 shard was larger than one batch may be" in str(made)
    assert figures(scene, is_over=True).succeeded == 6


def test_the_connection_and_the_server_of_a_run_are_known(make_scene):
    scene = make_scene(texts(1))
    assert (scene.staged().conn_id, scene.staged().server) == ("my_connection", "")
    scene.submit()
    assert scene.staged().server == "127.0.0.1"


def test_what_an_earlier_run_has_settled_stands_beside_the_rows(make_scene):
    scene = make_scene(texts(2))
    scene.plan = msgspec.structs.replace(scene.plan, unchanged=3, remembered={"refused": 1, "unsent": 1})
    write_json(scene.run.plan, scene.plan)
    made = figures(scene)
    assert (made.rows, made.unchanged, made.remembered, made.kept_answers) == (2, 3, 2, 0)
    scene.submit()
    scene.collect()
    write_json(scene.run.report, msgspec.structs.replace(scene.account(), kept_answers=1))
    made = figures(scene, is_over=True)
    assert (made.unchanged, made.remembered, made.kept_answers) == (3, 2, 1)


def test_what_was_tried_in_real_time_comes_on_top_at_the_full_price(make_scene):
    scene = make_scene([("t1", "text")], prices={MODEL: [1_000_000, 2_000_000]})
    assert figures(scene).tried is None
    write_canaries(scene.run, [Canary("c", MODEL, "succeeded", 3, 2)])
    tried = figures(scene).tried
    assert (tried.requests, tried.cost, tried.currency) == (1, 7.0, "VND")


def test_a_shard_that_is_being_answered_live_says_how_far_it_is(make_scene):
    scene = make_scene(texts(30))
    first, second, _ = scene.shards
    for number, shard in ((1, first), (2, first), (1, second)):
        take_claim(shard, NumberedClaim(number, Claim(token="w", file_id="", claimed_at=NOW, live=LiveHold(8))))
        LiveFolder(shard).note_progress(number, LiveProgress(settled=3 * number, per_second=0.5))
    found = figures(scene)
    # A worker that has followed another one knows of all answers.
    assert (found.stages, found.done) == ({"answering": 2, "built": 1}, 9)
    # Both workers together answer one a second, and the third shard comes after these.
    assert found.seconds_left == pytest.approx(21)
    (one, *_) = scene.staged().shards
    assert (one.answering.settled, one.is_open) == (6, False)


def test_live_answers_and_those_of_batches_have_their_money_apart(make_scene):
    scene = make_scene(texts(20), prices={MODEL: [1_000_000, 1_000_000]})
    first, second = scene.shards
    receipt = answer_live(first, scene.client)
    assert figures(scene).done == 10
    collect_shard(first, scene.client, None)
    submit(second, scene.client)
    scene.collect(second)
    assert receipt.live is not None
    before = figures(scene)
    scene.account()
    after = figures(scene, is_over=True)
    for found in (before, after):
        assert found.live.requests == 10
        assert 0 < found.live.prompt_tokens < found.prompt_tokens
        # The rest went through a batch, at half the price: what it cost is what it saved.
        assert found.cost.amount - found.live.cost == pytest.approx(found.cost.saving)
    assert before.live == after.live
