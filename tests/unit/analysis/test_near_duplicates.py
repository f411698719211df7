from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.analysis.near_duplicates import NearDuplicates, mark_near_duplicates
from greennode_batch.errors import ConfigError
from greennode_batch.source.rows import Rows

LATE = "My parcel has been on its way for nine days now, where is it?"
GIAO = "Đơn của mình đặt hôm thứ ba sao vẫn chưa thấy giao vậy shop?"


def marks(texts: list[Any], threshold: float = 0.8) -> list[Any]:
    rows = Rows.from_tuples(("id", "text"), [[(n, text)] for n, text in enumerate(texts)])
    return [
        row["duplicate_of"]
        for table in mark_near_duplicates(rows, ("id",), "text", threshold)
        for row in table.to_pylist()
    ]


def test_case_spaces_and_punctuation_make_no_other_text() -> None:
    assert marks([LATE, LATE.upper() + "!!", "  ".join(LATE.split())]) == [None, "0", "0"]
    assert marks([GIAO, GIAO.replace("?", " ạ?")]) == [None, "0"]


def test_composed_and_decomposed_letters_are_the_same() -> None:
    assert marks(["Đặt hàng tối nay", "Đặt hàng tối nay"]) == [None, "0"]


def test_other_words_make_another_text() -> None:
    assert marks([LATE, "My parcel came broken, whom do I write to?", GIAO]) == [None, None, None]


def test_each_is_marked_by_the_one_that_is_kept_and_not_by_another_duplicate() -> None:
    longer = LATE + " Hm"
    assert marks([LATE, longer, longer + " hm"], threshold=0.9) == [None, "0", "0"]


def test_a_text_that_is_null_is_like_nothing() -> None:
    assert marks([None, None, "", ""]) == [None, None, None, "2"]


def test_a_key_of_several_columns_is_named_whole() -> None:
    rows = Rows.from_tuples(("a", "b", "text"), [[("x", 1, LATE), ("x", 2, LATE)]])
    (table,) = mark_near_duplicates(rows, ("a", "b"), "text", 0.8)
    assert table.to_pylist() == [
        {"a": "x", "b": 1, "duplicate_of": None, "similarity": None},
        {"a": "x", "b": 2, "duplicate_of": "(x, 1)", "similarity": 1.0},
    ]


def pieces(text: str) -> set[str]:
    return {text[start : start + 4] for start in range(max(1, len(text) - 3))}


@given(
    st.lists(st.lists(st.sampled_from(["anh", "bao", "giờ", "hàng", "chưa"]), min_size=3, max_size=9), max_size=30),
    st.sampled_from([0.6, 0.8, 1.0]),
)
def test_it_finds_what_comparing_each_with_all_finds(texts: list[list[str]], threshold: float) -> None:
    known, kept = NearDuplicates(threshold), []
    for number, words in enumerate(texts):
        mine = pieces(" ".join(words))
        best = max([len(mine & other) / len(mine | other) for other in kept], default=0)
        found = known.add(str(number), " ".join(words))
        assert (found is not None) == (best >= threshold)
        if found is None:
            kept.append(mine)
        else:
            assert found.similarity == best


@pytest.mark.parametrize("threshold", [0.2, 1.1])
def test_a_threshold_that_cannot_be_kept_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigError, match=r"from 0\.5 to 1"):
        NearDuplicates(threshold)


def test_a_query_without_the_column_says_what_it_has() -> None:
    rows = Rows.from_tuples(("id", "body"), [[(1, "x")]])
    with pytest.raises(ConfigError, match="no column text; it has id, body"):
        list(mark_near_duplicates(rows, ("id",), "text", 0.8))
