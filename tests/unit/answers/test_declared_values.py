import enum
import json
import unicodedata
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from greennode_batch.answers.answer_reader import AnswerReader

MOODS = ("Tích cực", "tiêu cực", "cả hai", "ΣΑΣ", "Straße", "ok")


class Size(enum.Enum):
    SMALL = "Nhỏ"
    LARGE = "lớn"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["Chó"]


class Review(BaseModel):
    mood: Literal[MOODS]
    size: Size | None = None
    moods: list[Literal[MOODS]] = []
    by_size: dict[Size, Literal["a", "b"]] = {}
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    grade: Literal["x", "X"] | None = None
    note: str = ""
    exact: float = 0


READER = AnswerReader(Review)


def read(**fields):
    values = READER.read(json.dumps({"mood": "ok", **fields}, ensure_ascii=False))
    return values if isinstance(values, str) else dict(zip(Review.model_fields, values, strict=True))


@given(
    st.sampled_from(MOODS),
    st.sampled_from([str.upper, str.lower, str.title, str]),
    st.sampled_from(["NFC", "NFD"]),
    st.sampled_from(["", " ", "\n"]),
)
def test_case_form_and_space_make_no_difference_and_the_declared_value_is_stored(mood, case, form, space):
    assert read(mood=space + unicodedata.normalize(form, case(mood)) + space)["mood"] == mood


def test_values_of_enums_lists_keys_and_unions_are_found():
    found = read(
        size="NHỎ", moods=["OK", "CẢ HAI", "ok"], by_size={"LỚN": "A"}, pet={"kind": "CAT", "lives": 9}, note="OK NHỎ"
    )
    assert found["size"] == "Nhỏ"
    assert json.loads(found["moods"]) == ["ok", "cả hai", "ok"]
    assert json.loads(found["by_size"]) == {"lớn": "a"}
    assert json.loads(found["pet"]) == {"kind": "cat", "lives": 9}
    assert found["note"] == "OK NHỎ"


def test_what_was_not_wrong_stays_as_it_was_written():
    text = '{"mood": "OK", "exact": 0.1000000000000000055, "note": "\\u00e9 \\"OK\\""}'
    values = dict(zip(Review.model_fields, READER.read(text), strict=True))
    assert (values["mood"], values["exact"], values["note"]) == ("ok", 0.1, 'é "OK"')


@pytest.mark.parametrize(
    "fields", [{"mood": "good"}, {"mood": 5}, {"mood": "nhỏ"}, {"pet": {"kind": "cow"}}, {"pet": {"lives": 1}}]
)
def test_another_value_is_still_none(fields):
    assert isinstance(read(**fields), str)


def test_a_value_that_matches_two_declared_ones_is_none():
    assert (read(grade="x")["grade"], read(grade="X")["grade"]) == ("x", "X")
    assert isinstance(read(grade=" x"), str)
