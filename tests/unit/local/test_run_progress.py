from greennode_local.emulator import BatchCounts
from greennode_local.run_progress import describe


def test_a_line_names_the_states_in_their_order_and_the_requests_done() -> None:
    states = {"success": 2, "deferred": 1, "none": 3}
    line = describe(states, BatchCounts(batches=1, completed=120, total=326))
    assert line == "tasks: 3 waiting, 1 deferred, 2 success; batches: 1, requests done: 120 of 326"


def test_without_batches_only_tasks_are_named() -> None:
    assert describe({}, BatchCounts(batches=0, completed=0, total=0)) == "tasks: none yet"
