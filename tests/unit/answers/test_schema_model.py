"""A JSON schema makes a model that takes and refuses what the schema does."""

import datetime
import json
from typing import Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.answers.schema_model import model_of_schema
from greennode_batch.errors import ConfigError


class Item(BaseModel):
    name: str = Field(min_length=1)
    quantity: int = Field(ge=1, le=9)


class Order(BaseModel):
    """An order."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["new", "change", 3] | None
    phone: str | None = Field(pattern=r"^0\d+$")
    deliver_on: datetime.date | None = None
    share: float = Field(gt=0, lt=1)
    items: list[Item] = Field(max_length=2)
    more: dict | None = None
    sure: bool = True


SCHEMA = Order.model_json_schema()
GOOD = {
    "kind": "new",
    "phone": "012",
    "share": 0.5,
    "items": [{"name": "a", "quantity": 2}],
    "deliver_on": "2026-01-31",
}
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 10), st.floats(-1, 2), st.sampled_from(["", "new", "012", "2026-01-31"]),
    st.lists(st.fixed_dictionaries({"name": st.sampled_from(["", "a"]), "quantity": st.integers(0, 10)}), max_size=3),
    st.dictionaries(st.just("a"), st.integers(), max_size=1),
)  # fmt: skip


def takes(model, value):
    try:
        model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    return True


@given(st.sampled_from([*GOOD, "more", "sure", "other"]), VALUES)
def test_it_takes_what_the_schema_takes(field, value):
    answer = {**GOOD, field: value}
    model = model_of_schema(SCHEMA)
    assert takes(model, answer) == takes(Order, answer)
    if field != "deliver_on":  # a format is an assertion for us, and for that library only by choice
        assert takes(model, answer) == jsonschema.Draft202012Validator(SCHEMA).is_valid(answer)


def test_fields_become_the_columns_that_the_model_itself_would_make():
    made, own = AnswerReader(model_of_schema(SCHEMA)), AnswerReader(Order)
    assert [(field.name, field.type) for field in made.fields] == [(field.name, field.type) for field in own.fields]


def test_what_the_schema_says_to_the_model_that_answers_stays():
    schema = {
        "type": "object",
        "properties": {"label": {"type": "string", "description": "one word"}},
        "required": ["label"],
    }
    made = model_of_schema(schema, name="ticket-label")
    assert made.__name__ == "TicketLabel"
    assert made.model_json_schema()["properties"]["label"]["description"] == "one word"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "an answer is an object with fields"),
        ({"type": "object"}, "an answer is an object with fields"),
        ({"properties": {"a": {"type": "text"}}}, "field a: type is 'text'; it is one of string"),
        ({"properties": {"a": {"type": "string", "minimum": 1}}}, "field a: 'minimum' would not be checked"),
        ({"properties": {"a": {"type": "string", "format": "email"}}}, "format is 'email'; it is one of date"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}}, "#/$defs/b is not in this document"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "refers to itself"),
        ({"properties": {"a": {"type": "string"}}, "required": ["b"]}, "required names b"),
        ({"properties": {"a": {"enum": []}}}, "field a: enum is a list"),
        ({"properties": {"_a": {"type": "string"}}}, "makes no model"),
        ({"properties": {"a": {"type": "array", "items": {"allOf": []}}}}, "field a, items: type is None"),
    ],
)  # fmt: skip
def test_what_would_not_be_checked_is_named_with_its_place(schema, words):
    given_schema = {"type": "object", **schema} if isinstance(schema, dict) else schema
    with pytest.raises(ConfigError) as refused:
        model_of_schema(given_schema)
    assert words in str(refused.value)
