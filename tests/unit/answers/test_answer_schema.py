import json
import re
import unicodedata
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, create_model

from greennode_batch.answers.answer_schema import response_format, schema_wish
from greennode_batch.errors import ConfigError


class Label(BaseModel):
    kind: Literal["câu hỏi", "b"]
    score: float | None = None


class Odd(BaseModel):
    call: Callable[[], int]


def test_the_server_is_told_the_schema_by_the_models_name():
    requested = response_format(Label)
    assert requested["type"] == "json_schema"
    assert requested["json_schema"]["name"] == "Label"
    schema = requested["json_schema"]["schema"]
    jsonschema.validate({"kind": "câu hỏi"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"kind": "c"}, schema)


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: list[T]


def name_of(model):
    return response_format(model)["json_schema"]["name"]


def test_a_name_that_servers_accept_stays_byte_for_byte():
    for name in ("Label", "label_2", "A-B", "x" * 64, "_"):
        assert name_of(create_model(name, label=(str, ...))) == name


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("ĐánhGiá", "DanhGia_"),
        (unicodedata.normalize("NFD", "ĐánhGiá"), "DanhGia_"),
        ("Sản phẩm 2", "San_pham_2_"),
        ("評価", "Answer_"),
        ("x" * 70, "x" * 55 + "_"),
        ("Page[Label]", "Page_Label_"),
    ],
)
def test_any_other_name_becomes_a_valid_one_that_stays_the_same(name, begins):
    made = name_of(create_model(name, label=(str, ...)))
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", made)
    assert made.startswith(begins)
    assert made == name_of(create_model(unicodedata.normalize("NFC", name), label=(int, ...)))


def test_the_name_of_a_generic_model_is_valid_and_does_not_change():
    assert name_of(Page[Label]) == "Page_Label_c6d2d493"


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=80).map(
    lambda name: unicodedata.normalize("NFC", name)
)


@settings(max_examples=20)
@given(st.lists(NAMES, unique=True, max_size=4))
def test_models_of_different_names_have_different_schema_names(names):
    made = [name_of(create_model(name, label=(str, ...))) for name in names]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in made)


def test_the_wish_in_words_holds_the_same_schema_with_its_letters_as_they_are():
    words, _, schema = schema_wish(Label).partition("\n")
    assert words.startswith("Answer with one JSON object")
    assert "câu hỏi" in schema
    assert json.loads(schema) == response_format(Label)["json_schema"]["schema"]


@pytest.mark.parametrize("say", [response_format, schema_wish])
def test_a_model_without_a_json_schema_is_named(say):
    with pytest.raises(ConfigError, match="answer model Odd: a field has no JSON schema"):
        say(Odd)
