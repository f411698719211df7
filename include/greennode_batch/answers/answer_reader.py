"""Answer reader: turns a model's text into the values of the target's columns, or says why it cannot."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from operator import attrgetter
from types import NoneType
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json, to_jsonable_python

from greennode_batch.answers.answer_schema import _schema
from greennode_batch.answers.json_in_text import json_in_text
from greennode_batch.answers.tool_calls import calls_as_json
from greennode_batch.api.results.result_line import ToolCall
from greennode_batch.source.column_types import _MARK, is_json

_SHOWN_CHARACTERS = 500
_BEFORE_ANSWER = "; the answer was: "
_HASH_CHARACTERS = 16
_INT64 = range(-(1 << 63), 1 << 63)

# By type and format in the JSON schema.
_ARROW_TYPES: dict[tuple[Any, Any], pa.DataType] = {
    ("boolean", None): pa.bool_(),
    ("integer", None): pa.int64(),
    ("number", None): pa.float64(),
    ("string", "date"): pa.date32(),
    ("string", "date-time"): pa.timestamp("us", tz="UTC"),
}


class AnswerReader:
    """Reads texts as values of the answer's columns.

    Without an answer model, the text itself is the only value, in the column `answer`.
    """

    def __init__(self, model: type[BaseModel] | None) -> None:
        """Raise ConfigError for an answer model that has no JSON schema."""
        self._validate: Callable[[str], BaseModel] | None = (
            model.__pydantic_validator__.validate_json if model else None
        )
        self.fields: tuple[pa.Field, ...] = _fields(model) if model else (pa.field("answer", pa.string()),)
        """The answer's columns, in order."""
        self._fields_of = _getter([field.name for field in self.fields])
        self._as_text = tuple(pa.types.is_string(field.type) for field in self.fields)
        self._as_json = tuple(is_json(field) for field in self.fields)
        schema = _schema(model, "validation") if model else {}
        digest = hashlib.blake2b(json.dumps(schema, sort_keys=True).encode(), digest_size=16).hexdigest()
        self.mark: Mapping[bytes, bytes] = {_MARK: digest.encode()}
        """Metadata that identifies the answer model in the schema of results."""

    @property
    def model_hash(self) -> str:
        """A short hash of the answer model, stored with final outcomes that hold for this model only."""
        return self.mark[_MARK][:_HASH_CHARACTERS].decode()

    def made(self, results: pa.Schema) -> bool:
        """Whether these results were read with this answer model."""
        return bool(results.metadata) and results.metadata.get(_MARK) == self.mark[_MARK]

    def read(self, text: str) -> tuple[Any, ...] | str:
        """Return the values in the order of `fields`, or a text that says why the answer is not valid."""
        if self._validate is None:
            return (text,) if text.strip() else "the answer is empty"
        try:
            values = self._values(text)
        except ValidationError as error:
            return f"{_reasons(error)}{_BEFORE_ANSWER}{text[:_SHOWN_CHARACTERS]}"
        columns = self._columns([values])
        for field, column in zip(self.fields, columns, strict=True):
            if _too_large(column):
                return f"{field.name}: the number is too large for a column{_BEFORE_ANSWER}{text[:_SHOWN_CHARACTERS]}"
        return tuple(one for (one,) in columns)

    def called(self, calls: Sequence[ToolCall]) -> str:
        """The text to read if the model calls tools.

        Without an answer model, it is a JSON list of all calls; with one, the arguments of the last call.
        """
        return calls_as_json(calls) if self._validate is None else calls[-1].arguments

    def read_columns(self, texts: Sequence[str]) -> tuple[Sequence[int], list[Sequence[Any]]]:
        """Read many texts like `read`; return the indexes of the valid answers, and their values by column."""
        if self._validate is None:
            if all(texts) and not any(map(str.isspace, texts)):
                return range(len(texts)), [texts]
            indexes = [index for index, text in enumerate(texts) if text.strip()]
            return indexes, [[texts[index] for index in indexes]]
        indexes, read = [], []
        for index, text in enumerate(texts):
            try:
                read.append(self._values(text))
            except ValidationError:
                continue
            indexes.append(index)
        columns = self._columns(read)
        large = set().union(*map(_too_large, columns))
        if large:
            fit = [row not in large for row in range(len(read))]
            indexes, columns = list(compress(indexes, fit)), [list(compress(column, fit)) for column in columns]
        return indexes, columns

    def _values(self, text: str) -> tuple[Any, ...]:
        """Validate the text, or a JSON value inside it, and return its fields.

        Raises the ValidationError of the likeliest answer. Returns only the fields, so that the model instance is
        freed.
        """
        validate = self._validate
        assert validate is not None, "without a model there is nothing to fit"
        try:
            return self._fields_of(validate(text))
        except ValidationError as error:
            meant = error
        for part in json_in_text(text):
            try:
                return self._fields_of(validate(part))
            except ValidationError as error:
                if _is_no_json(meant) and not _is_no_json(error):
                    meant = error
        raise meant

    def _columns(self, read: Sequence[tuple[Any, ...]]) -> list[Sequence[Any]]:
        """Transpose answers into one list of values per column."""
        columns: Iterable[Sequence[Any]] = zip(*read, strict=True) if read else [()] * len(self.fields)
        return [
            _plain(column, as_json=as_json, as_text=as_text)
            for column, as_json, as_text in zip(columns, self._as_json, self._as_text, strict=True)
        ]


def model_hash_of(results: pa.Schema) -> str | None:
    """The `model_hash` of the reader that made these results; None if they carry no mark."""
    mark = (results.metadata or {}).get(_MARK)
    return mark[:_HASH_CHARACTERS].decode() if mark else None


def reasons_in(error: str) -> str:
    """Strip the answer from an error text of `read`, and keep the reasons."""
    return error.partition(_BEFORE_ANSWER)[0]


def _getter(names: Sequence[str]) -> Callable[[BaseModel], tuple[Any, ...]]:
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda answer: (get(answer),)


def _is_no_json(error: ValidationError) -> bool:
    return error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] == "json_invalid"


def _reasons(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)[:5]
    )


def _fields(model: type[BaseModel]) -> tuple[pa.Field, ...]:
    # The serialization schema, because values are stored as serialized: a Decimal may be read from a number, but is
    # written as text.
    schema = _schema(model, "serialization")
    if "$ref" in schema:  # a recursive model
        schema = {**schema, **schema["$defs"][schema["$ref"].rpartition("/")[2]]}
    by_name = schema.get("properties", {"root": schema})
    fields = []
    for name, info in model.model_fields.items():
        arrow = _arrow_type(by_name.get(info.serialization_alias or name, {}), schema.get("$defs", {}))
        fields.append(pa.field(name, arrow or pa.string(), metadata=None if arrow else {_MARK: b"json"}))
    return tuple(fields)


def _arrow_type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> pa.DataType | None:
    """The Arrow type for a field's JSON schema; None for a field that is stored as JSON."""
    if "$ref" in schema:
        return _arrow_type(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
    if "anyOf" in schema:
        kinds = {_arrow_type(part, definitions) for part in schema["anyOf"] if part.get("type") != "null"}
        return kinds.pop() if len(kinds) == 1 else None
    kind = schema.get("type") or _kind_of_values(schema)
    return _ARROW_TYPES.get((kind, schema.get("format"))) or (pa.string() if kind == "string" else None)


def _kind_of_values(schema: Mapping[str, Any]) -> str | None:
    """The type shared by all values of an enumeration that states no type: `Literal["a", None]` is text."""
    values = [schema["const"]] if "const" in schema else schema.get("enum", [])
    kinds = {type(value) for value in values if value is not None}
    return (
        {str: "string", int: "integer", float: "number", bool: "boolean"}.get(kinds.pop()) if len(kinds) == 1 else None
    )


def _plain(values: Sequence[Any], *, as_json: bool, as_text: bool) -> Sequence[Any]:
    """Convert a field's values to what Arrow accepts; most need no conversion."""
    if as_json:
        return [None if value is None else to_json(value, inf_nan_mode="null").decode() for value in values]
    kinds = set(map(type, values)) - {NoneType}
    if not any(issubclass(kind, enum.Enum) for kind in kinds) and (not as_text or kinds <= {str}):
        return values
    return [None if value is None else _plain_value(value, as_text=as_text) for value in values]


def _plain_value(value: Any, *, as_text: bool) -> Any:
    if isinstance(value, enum.Enum):
        value = value.value
    return str(to_jsonable_python(value)) if as_text and type(value) is not str else value


def _too_large(column: Sequence[Any]) -> list[int]:
    """The indexes of integers that do not fit into 64 bits."""
    if not any(issubclass(kind, int) for kind in set(map(type, column))):
        return []
    return [index for index, one in enumerate(column) if isinstance(one, int) and one not in _INT64]
