from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from greennode_batch.analysis.evaluation.compared import NO_ANSWER, read_compared, shown_key
from greennode_batch.errors import ConfigError
from greennode_batch.source.rows import Rows

COLUMNS = ("id", "model", "status", "expected", "said", "score", "prompt_tokens", "custom_id")
ROWS = [
    (1, "a", "succeeded", "cat", "cat", 5, 100, "x"),
    (2, "a", "succeeded", "cat", "Cat", None, 100, "x"),
    (1, "b", "refused", "cat", "cat", 3, 50, "y"),
    (2, "b", "succeeded", None, "cat", 3, 50, None),
    (3, "b", "succeeded", "cat", None, 3, 50, None),
]


def frame(rows: Any = ROWS, columns: Any = COLUMNS, key: Any = ("id",)) -> pd.DataFrame:
    return read_compared(Rows.from_tuples(columns, [rows[:2], rows[2:]]), key)


def test_an_answer_is_right_letter_by_letter_and_only_where_there_is_one() -> None:
    found = frame()
    assert found["right"].tolist() == [True, False, False, False, False]
    assert found["said"].tolist() == ["cat", "Cat", NO_ANSWER, "cat", NO_ANSWER]


def test_the_tokens_of_a_request_that_rows_share_stand_with_the_first_of_them() -> None:
    assert frame()["prompt_tokens"].tolist() == [100, 0, 50, 50, 50]


def test_a_number_that_the_query_has_not_is_unknown_and_no_zero() -> None:
    assert frame([row[:6] for row in ROWS], COLUMNS[:6])["prompt_tokens"].isna().all()
    assert frame()["score"].isna().tolist() == [False, True, False, False, False]


def test_a_key_of_several_columns_is_one_name_and_no_two_keys_share_it() -> None:
    rows = [("a", "b c", "m", "succeeded", "x", "x"), ("a b", "c", "m", "succeeded", "x", "x")]
    found = frame(rows, ("one", "two", "model", "status", "expected", "said"), ("one", "two"))
    assert found["row"].nunique() == 2
    assert [shown_key(row) for row in found["row"]] == ["a, b c", "a b, c"]


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (ROWS, ("id", "model", "status", "label", *COLUMNS[4:]), "no column expected"),
        ([*ROWS, ROWS[0]], COLUMNS, "row 1 twice for model a"),
        ([], COLUMNS, "gives no rows"),
    ],
    ids=["no such column", "a row twice", "no rows"],
)
def test_a_query_that_cannot_be_compared_says_why(rows: Any, columns: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        frame(rows, columns)
