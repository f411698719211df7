import json
from collections.abc import Callable
from typing import Literal

import jsonschema
import pytest
from pydantic import BaseModel

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


def test_the_wish_in_words_holds_the_same_schema_with_its_letters_as_they_are():
    words, _, schema = schema_wish(Label).partition("\n")
    assert words.startswith("Answer with one JSON object")
    assert "câu hỏi" in schema
    assert json.loads(schema) == response_format(Label)["json_schema"]["schema"]


@pytest.mark.parametrize("say", [response_format, schema_wish])
def test_a_model_without_a_json_schema_is_named(say):
    with pytest.raises(ConfigError, match="answer model Odd: a field has no JSON schema"):
        say(Odd)
