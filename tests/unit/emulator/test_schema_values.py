import datetime as dt
import enum
import json
import uuid
from collections import Counter
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, EmailStr, Field, conlist

from greennode_emulator.dice import Dice
from greennode_emulator.scalars import UnsatisfiableError
from greennode_emulator.schema_values import value_for


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    model_config = ConfigDict(extra="forbid")
    street: str = Field(min_length=3, max_length=20)
    number: int = Field(gt=0, le=300)
    code: str = Field(pattern=r"^\d{5}$")


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = []


class Tree(BaseModel):
    name: str
    parent: Optional["Tree"] = None
    children: list["Tree"] = []


class Everything(BaseModel):
    label: Literal["a", "b", "c"]
    only: Literal["one"]
    colour: Colour
    score: float = Field(ge=0, le=1)
    share: float = Field(gt=0, lt=1)
    price: Decimal = Field(ge=0)
    step: int = Field(ge=10, lt=50, multiple_of=5)
    home: Address
    former: list[Address] = Field(min_length=1, max_length=2)
    maybe: Address | None
    note: str | None = None
    tags: conlist(str, min_length=2, max_length=4)
    unique: set[int] = Field(min_length=2)
    pair: tuple[int, str]
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    either: int | str
    scores: dict[str, int]
    by_colour: dict[Colour, float]
    on: dt.date
    at: dt.datetime
    hour: dt.time
    took: dt.timedelta
    ident: uuid.UUID
    mail: EmailStr
    flag: bool
    nothing: None
    anything: Any
    tree: Tree
    defaulted: int = 3


@pytest.mark.parametrize("seed", range(100))
def test_pydantic_accepts_what_its_own_schema_asked_for(seed):
    schema = Everything.model_json_schema()
    value = value_for(schema, Dice(seed.to_bytes(2)))
    Everything.model_validate_json(json.dumps(value))
    Draft202012Validator(schema).validate(value)


def test_an_enum_is_spread_over_its_values():
    schema = Everything.model_json_schema()
    counts = Counter(value_for(schema, Dice(seed.to_bytes(2)))["label"] for seed in range(300))
    assert set(counts) == {"a", "b", "c"}
    assert min(counts.values()) > 60


def test_optional_values_come_both_ways():
    values = [value_for(Everything.model_json_schema(), Dice(seed.to_bytes(2))) for seed in range(60)]
    assert {value["maybe"] is None for value in values} == {True, False}
    assert {"note" in value for value in values} == {True, False}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"]},
        {"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}, "required": ["b"]}]},
        {"type": "array", "items": {"type": "integer"}, "maxItems": 0},
        {"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "items": False},
        {"type": "object", "minProperties": 2, "additionalProperties": {"type": "boolean"}},
        {"type": "object", "patternProperties": {"^x_\\d$": {"type": "null"}}, "minProperties": 1},
        {"type": "object", "required": ["unnamed"]},
        {"properties": {"a": True}, "required": ["a"]},
        {"items": {"enum": [1, 2]}, "minItems": 2, "uniqueItems": True},
        {"minimum": 3, "maximum": 4},
        {"oneOf": [{"type": "string", "pattern": "(?=x)x"}, {"type": "null"}]},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "boolean"}}, "description": "a sibling"},
        {"type": "string", "format": "ipv4"},
    ],
)
def test_plain_json_schema_is_satisfied(schema):
    for seed in range(20):
        Draft202012Validator(schema).validate(value_for(schema, Dice(bytes([seed]))))


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {"type": "string"}},
        {"type": "strange"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#"},
        {"anyOf": []},
        {"type": "array", "items": {"enum": [1]}, "minItems": 2, "uniqueItems": True},
        {"type": "array", "minItems": 3, "maxItems": 2},
        {"type": "object", "propertyNames": {"enum": ["a"]}, "minProperties": 2},
        {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}}},
    ],
)
def test_what_cannot_be_satisfied_is_refused_and_not_broken(schema):
    with pytest.raises(UnsatisfiableError):
        value_for(schema, Dice(b"x"))
