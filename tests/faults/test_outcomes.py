"""The matrix can fail: each kind of wrong that it looks for is found when it is there."""

from __future__ import annotations

import pytest

from greennode_faults.case import Case
from greennode_faults.stage import ROWS, RowOut, needed, problems_of

WANTED = {n: ("question", n, "words") for n in range(ROWS)}
CASE = Case(group="g", name="n")


def rows():
    return [RowOut(id=n, status="succeeded", custom_id=f"id{n}", answer=WANTED[n]) for n in range(ROWS)]


def ledger(**wasted):
    return {"requests": {f"id{n}": 1 + wasted.get(f"id{n}", 0) for n in range(ROWS)}, "wasted": wasted}


def test_a_good_run_has_no_problem_and_what_the_server_wasted_was_needed():
    bills = ledger(id3=2)
    assert problems_of(rows(), bills, WANTED, CASE) == []
    assert needed(bills) == ROWS + 2 == sum(bills["requests"].values())


def changed(index, **changes):
    some = rows()
    some[index] = some[index].model_copy(update=changes)
    return some


@pytest.mark.parametrize(
    ("some", "bills", "problem"),
    [
        (rows()[1:], ledger(), "rows lost or doubled"),
        ([*rows(), rows()[0]], ledger(), "rows lost or doubled"),
        (changed(2, status="missing"), ledger(), "rows ended as missing, succeeded"),
        (changed(2, status="missing"), ledger(), "1 answers paid for and not in the target"),
        (changed(2, answer=("praise", 0, "")), ledger(), "another answer"),
        (rows(), {"requests": {**ledger()["requests"], "id5": 2}, "wasted": {}}, "1 answers paid for twice"),
        (rows(), {"requests": {**ledger()["requests"], "odd": 1}, "wasted": {}}, "1 answers paid for that no row"),
    ],
)
def test_what_is_wrong_is_said(some, bills, problem):
    assert any(problem in words for words in problems_of(some, bills, WANTED, CASE))


def test_an_answer_that_was_paid_for_twice_is_more_than_was_needed():
    bills = {"requests": {"a": 3, "b": 1}, "wasted": {"a": 1}}
    assert needed(bills) == 3 < sum(bills["requests"].values())
