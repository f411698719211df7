from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.polling.poll_plan import PollPlan, pages_worth_reading, plan_polls
from greennode_batch.api.polling.watch import UNLISTED, Watch

pages = st.lists(st.one_of(st.integers(1, 30), st.just(UNLISTED)), max_size=40)


def calls(depth, front, of):
    return depth - front + sum(page > depth for page in of if page > front)


@given(pages, st.integers(0, 35))
def test_no_other_depth_takes_fewer_calls(of, front):
    depth = pages_worth_reading(of, front=front)
    assert depth >= front
    best = calls(depth, front, of)
    assert all(best <= calls(other, front, of) for other in range(front, 40))


def test_one_batch_is_asked_for_and_two_are_listed():
    assert pages_worth_reading([1]) == 0
    assert pages_worth_reading([1, 1]) == 1


def test_batches_far_back_are_asked_for_unless_there_are_more_of_them_than_pages():
    assert pages_worth_reading([50] * 20) == 0
    assert pages_worth_reading([50] * 51) == 50
    assert pages_worth_reading([1, 1, 1, 50]) == 1


def watches(of):
    made = []
    for number, page in enumerate(of):
        watch = Watch(f"batch_{number}", deadline=9e9, now=0.0)
        watch.page = page
        made.append(watch)
    return made


def pages_of(plan: PollPlan):
    return [watch.page for watch in plan.single]


def test_what_is_on_no_page_is_asked_for_at_once_whoever_reads_the_list():
    for fronts in ([], [0], [3, 7]):
        plan = plan_polls(watches([UNLISTED, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]), fronts=fronts, may_walk=True)
        assert UNLISTED in pages_of(plan)
        assert 9 not in pages_of(plan)


def test_whoever_reads_the_list_serves_what_lies_ahead_and_another_one_what_lies_behind():
    due = watches([1, 1] + [8] * 9)
    assert plan_polls(due, fronts=[5], may_walk=True) == PollPlan(walk=True)
    assert plan_polls(due, fronts=[0], may_walk=False) == PollPlan()
    assert plan_polls(due[2:], fronts=[5], may_walk=True) == PollPlan()


def test_what_is_too_far_ahead_is_not_waited_for():
    plan = plan_polls(watches([6, 6, 90]), fronts=[5], may_walk=True)
    assert pages_of(plan) == [90]


@given(pages, st.lists(st.integers(0, 35), max_size=4))
def test_whatever_is_due_is_looked_at_or_waits_for_somebody(of, fronts):
    due = watches(of)
    plan = plan_polls(due, fronts=fronts, may_walk=True)
    if due and not fronts:
        assert plan.walk or plan.single
    if not plan.walk:
        left = [watch for watch in due if watch not in plan.single]
        assert all(any(watch.page > front for front in fronts) for watch in left)
