"""Answers: what a model wrote, as the value(s) of the target's columns, or the reason why it is none."""

from __future__ import annotations

import datetime
import decimal
import enum
import re
import types
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

_FENCED = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
_SHOWN_CHARACTERS = 500

_ARROW_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    datetime.date: pa.date32(),
    datetime.datetime: pa.timestamp("us", tz="UTC"),
}


class Thought(NamedTuple):
    """A model's text, split: what it thought and what it answered. `answer` is None if all of it is thinking."""

    reasoning: str | None
    answer: str | None


def split_reasoning(text: str) -> Thought:
    """Split `<think>…</think>` and `<answer>…</answer>`, as GreenMind writes them, off a model's text."""
    reasoning, closed, rest = text.rpartition("</think>")
    if not closed:
        if text.lstrip().startswith("<think>"):
            return Thought(text.strip().removeprefix("<think>").strip(), None)
        return Thought(None, text)
    answer = rest.strip()
    if answer.startswith("<answer>"):
        answer = answer.removeprefix("<answer>").removesuffix("</answer>").strip()
    return Thought(reasoning.strip().removeprefix("<think>").strip(), answer)


def response_format(answer: type[BaseModel]) -> dict[str, Any]:
    """The `response_format` of a request whose answer must fit the model (OpenAI's structured output)."""
    schema = answer.model_json_schema()
    return {"type": "json_schema", "json_schema": {"name": answer.__name__, "schema": schema}}


class AnswerReader:
    """Texts -> values of the answer's columns. Without a model the text itself is the one value, `answer`."""

    def __init__(self, model: type[BaseModel] | None) -> None:
        self._model = model
        self.fields: tuple[pa.Field, ...] = (
            tuple(_field(name, info.annotation) for name, info in model.model_fields.items())
            if model
            else (pa.field("answer", pa.string()),)
        )
        self._as_text = tuple(pa.types.is_string(field.type) for field in self.fields)
        self._as_json = tuple(is_json(field) for field in self.fields)

    def read(self, text: str) -> tuple[Any, ...] | str:
        """The values in the order of `fields`; or, as a text, what is wrong with the answer."""
        if self._model is None:
            return (text,) if text.strip() else "the answer is empty"
        fenced = _FENCED.match(text)
        try:
            value = self._model.model_validate_json(fenced.group(1) if fenced else text)
        except ValidationError as error:
            return f"{_reasons(error)}; the answer was: {text[:_SHOWN_CHARACTERS]}"
        return tuple(
            _plain(getattr(value, field.name), as_json=as_json, as_text=as_text)
            for field, as_json, as_text in zip(self.fields, self._as_json, self._as_text, strict=True)
        )


def is_json(field: pa.Field) -> bool:
    """Whether a text column holds JSON: a target may have a type of its own for it."""
    return bool(field.metadata) and field.metadata.get(b"greennode") == b"json"


def _reasons(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)[:5]
    )


def _field(name: str, annotation: Any) -> pa.Field:
    arrow = _arrow_type(annotation)
    return pa.field(name, arrow) if arrow is not None else pa.field(name, pa.string(), metadata={b"greennode": b"json"})


def _arrow_type(annotation: Any) -> pa.DataType | None:
    """The Arrow type of an annotation, None for what is written as JSON."""
    if annotation in _ARROW_TYPES:
        return _ARROW_TYPES[annotation]
    origin = get_origin(annotation)
    if origin is Literal:
        kinds = {type(value) for value in get_args(annotation)}
        return _ARROW_TYPES.get(kinds.pop()) if len(kinds) == 1 else None
    if origin in {Union, types.UnionType}:
        arrow = {_arrow_type(part) for part in get_args(annotation) if part is not type(None)}
        return arrow.pop() if len(arrow) == 1 else None
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return pa.string()
    if annotation is decimal.Decimal:
        return pa.string()
    return None


def _plain(value: Any, *, as_json: bool, as_text: bool) -> Any:
    if value is None:
        return None
    if as_json:
        return to_json(value).decode()
    if isinstance(value, enum.Enum):
        value = value.value
    return str(value) if as_text else value
