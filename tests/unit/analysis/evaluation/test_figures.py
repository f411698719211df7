from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.analysis.evaluation.compared import NO_ANSWER, read_compared
from greennode_batch.analysis.evaluation.figures import Figures, Share, count_figures
from greennode_batch.job.prices import read_prices
from greennode_batch.source.rows import Rows

COLUMNS = (
    "id", "model", "status", "expected", "said", "score", "prompt_tokens", "completion_tokens", "custom_id",
)  # fmt: skip
# Six rows of two classes and one without a label, by two models; `b` has no answer to row 3.
ROWS = [
    (1, "a", "succeeded", "cat", "cat", 5, 100, 10, "a1"),
    (2, "a", "succeeded", "cat", "dog", 2, 100, 10, "a2"),
    (3, "a", "succeeded", "cat", "cat", 4, 100, 10, "a3"),
    (4, "a", "succeeded", "dog", "dog", 5, 100, 10, "a4"),
    (5, "a", "succeeded", "dog", "dog", None, 100, 10, "a4"),
    (6, "a", "succeeded", None, "cat", 3, 100, 10, "a6"),
    (1, "b", "succeeded", "cat", "cat", 5, 50, 4, "b1"),
    (2, "b", "succeeded", "cat", "cat", 5, 50, 4, "b2"),
    (3, "b", "refused", "cat", "cat", None, 50, 4, "b3"),
    (4, "b", "succeeded", "dog", "bird", 1, 50, 4, "b4"),
    (5, "b", "succeeded", "dog", "dog", 4, 50, 4, "b5"),
    (6, "b", "succeeded", None, "dog", 3, None, None, "b6"),
]
PRICES = read_prices({"a": [1000, 10_000], "currency": "VND", "batch_discount": 0.5})


def frame(rows: list[tuple[Any, ...]] = ROWS, columns: tuple[str, ...] = COLUMNS, key: tuple[str, ...] = ("id",)):
    halves = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    return read_compared(Rows.from_tuples(columns, halves), key)


def figures() -> Figures:
    return count_figures(frame(), ["b", "a", "never asked"], PRICES)


def test_models_come_in_the_order_given_and_those_that_were_not_asked_are_left_out() -> None:
    assert [one.model for one in figures().models] == ["b", "a"]
    assert [one.model for one in count_figures(frame(), [], PRICES).models] == ["a", "b"]


def test_accuracy_is_of_the_labelled_rows_and_a_row_without_an_answer_is_wrong() -> None:
    b, a = figures().models
    assert (a.accuracy.count, a.accuracy.of) == (4, 5)
    # What a refused row says does not count, though it is the label.
    assert (b.accuracy.count, b.accuracy.of) == (3, 5)
    assert (figures().rows, figures().labelled, figures().disagreed) == (6, 5, 4)
    assert (b.answered, b.statuses) == (5, {"succeeded": 5, "refused": 1})


def test_precision_and_recall_are_counted_class_by_class() -> None:
    b, a = figures().models
    assert figures().classes == ("cat", "dog")
    cat, dog = a.classes
    assert (cat.precision, cat.recall, cat.f1) == (1.0, 2 / 3, 0.8)
    assert (dog.precision, dog.recall, dog.f1) == (2 / 3, 1.0, 0.8)
    assert a.macro_f1 == pytest.approx(0.8)
    cat, dog = b.classes
    assert (cat.precision, cat.recall) == (1.0, 2 / 3)
    assert (dog.precision, dog.recall) == (1.0, 1 / 2)


def test_the_confusion_has_a_place_for_other_words_and_for_no_answer() -> None:
    b, a = figures().models
    assert figures().said_classes == ("cat", "dog", "(another)", NO_ANSWER)
    assert a.confusion == ((2, 1, 0, 0), (0, 2, 0, 0))
    assert b.confusion == ((2, 0, 0, 1), (0, 1, 1, 0))


def test_scores_are_counted_and_set_against_the_labels() -> None:
    b, a = figures().models
    assert (a.scores, a.judged, a.mean_score) == ((0, 1, 1, 1, 2), 5, 3.8)
    assert (a.right_score, a.wrong_score) == (pytest.approx(14 / 3), 2.0)
    assert (b.right_score, b.wrong_score) == (pytest.approx(14 / 3), 1.0)


def test_the_tokens_of_a_request_that_two_rows_share_are_paid_once() -> None:
    b, a = figures().models
    assert (a.prompt_tokens, a.completion_tokens) == (500, 50)
    assert a.cost == pytest.approx((500 * 1000 + 50 * 10_000) / 1_000_000 * 0.5)
    assert (b.prompt_tokens, b.completion_tokens, b.cost) == (250, 20, None)


def test_two_models_are_set_side_by_side_on_the_same_rows() -> None:
    (duel,) = figures().duels
    assert (duel.one, duel.other) == ("b", "a")
    assert (duel.only_one, duel.only_other, duel.both, duel.neither) == (1, 2, 2, 0)


def test_without_labels_only_the_judge_is_counted() -> None:
    found = count_figures(frame([(*row[:3], None, *row[4:]) for row in ROWS]), ["a", "b"], PRICES)
    assert (found.labelled, found.classes, found.models[0].accuracy.of) == (0, (), 0)
    assert found.models[0].mean_score == 3.8


def test_of_many_classes_the_small_ones_are_taken_together() -> None:
    rows = [(n, "a", "succeeded", f"c{n % 40:02}", f"c{n % 40:02}") for n in range(80)]
    found = count_figures(frame(rows, COLUMNS[:5]), ["a"], PRICES)
    assert len(found.classes) == 24
    assert found.classes[-1] == "(17 smaller classes)"
    assert sum(map(sum, found.models[0].confusion)) == 80
    assert found.models[0].accuracy.value == 1


def test_a_key_of_several_columns_and_other_types_is_compared() -> None:
    rows = [("x", 1, "a", "succeeded", True, True), ("x", 2, "a", "succeeded", False, True)]
    columns = ("one", "two", "model", "status", "expected", "said")
    (a,) = count_figures(frame(rows, columns, ("one", "two")), ["a"], PRICES).models
    assert (a.accuracy.count, a.accuracy.of) == (1, 2)


@given(of=st.integers(1, 5000), data=st.data())
def test_the_interval_holds_the_share_and_shrinks_with_more_rows(of: int, data: st.DataObject) -> None:
    share = Share(data.draw(st.integers(0, of)), of)
    low, high = share.interval
    assert 0 <= low <= share.value <= high <= 1
    assert high - low < 2 / math.sqrt(of)


def test_the_interval_is_wilsons() -> None:
    assert Share(8, 10).interval == pytest.approx((0.4902, 0.9433), abs=1e-4)
