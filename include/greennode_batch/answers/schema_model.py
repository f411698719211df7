"""A JSON schema of an answer -> the Pydantic model that answers are read by."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, create_model
from pydantic_core import SchemaError

from greennode_batch.errors import ConfigError

# The bounds of each type, by Pydantic's names.
_BOUNDS: Mapping[str, Mapping[str, str]] = {
    "string": {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"},
    "integer": {
        "minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt",
        "multipleOf": "multiple_of",
    },
    "array": {"minItems": "min_length", "maxItems": "max_length"},
}  # fmt: skip
_PLAIN: Mapping[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}
_FORMATS: Mapping[str, Any] = {
    "date": datetime.date,
    "date-time": datetime.datetime,
    "time": datetime.time,
    "uuid": uuid.UUID,
}
# They say something to people, or to the model that answers, and rule nothing out.
_WORDS = {"title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs", "definitions"}
_KNOWN: Mapping[str, set[str]] = {
    "string": {"format"},
    "integer": set(),
    "number": set(),
    "boolean": set(),
    "null": set(),
    "array": {"items"},
    "object": {"properties", "required", "additionalProperties"},
}


def model_of_schema(schema: Any, *, name: str = "Answer") -> type[BaseModel]:
    """The model of a schema of an object. name: the model's, where the schema has no title.

    Raises ConfigError, with the place, for a keyword that it would not check: nothing is passed over in silence.
    """
    if not isinstance(schema, Mapping) or schema.get("type") != "object" or not schema.get("properties"):
        raise ConfigError('an answer is an object with fields: {"type": "object", "properties": {…}}')
    return _SchemaReader(schema).model(schema, _class_name(str(schema.get("title") or name)), "the schema")


class _SchemaReader:
    """Reads schemas that may refer to others of the same document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._models: dict[str, type[BaseModel]] = {}
        self._open: list[str] = []

    def model(self, schema: Mapping[str, Any], name: str, where: str) -> type[BaseModel]:
        """The model of an object with fields."""
        _refuse_unknown(schema, {"type"} | _KNOWN["object"], where)
        required = schema.get("required", [])
        extra = schema.get("additionalProperties", True)
        if not isinstance(extra, bool):
            raise ConfigError(f"{where}: additionalProperties is true or false here; name the fields in properties")
        fields: dict[str, Any] = {}
        for field, one in schema.get("properties", {}).items():
            kind = self.kind(one, _class_name(field), f"{where}, field {field}")
            words = one if isinstance(one, Mapping) else {}
            default = ... if field in required else words.get("default")
            optional = kind if field in required or "default" in words else Union[kind, None]  # noqa: UP007
            fields[field] = (optional, Field(default, description=words.get("description")))
        missing = [field for field in required if field not in fields]
        if missing:
            raise ConfigError(f"{where}: required names {', '.join(missing)}, which is not among its properties")
        config = ConfigDict(extra="ignore" if extra else "forbid")
        try:
            made: type[BaseModel] = create_model(name, __config__=config, __doc__=schema.get("description"), **fields)
        except (NameError, TypeError, PydanticUserError, SchemaError) as error:
            raise ConfigError(f"{where}: makes no model ({error})") from None
        return made

    def kind(self, schema: Any, name: str, where: str) -> Any:
        """The type that a value of a schema has."""
        if not isinstance(schema, Mapping):
            raise ConfigError(f"{where}: is no schema but {schema!r}")
        if "$ref" in schema:
            return self._referred(schema, where)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                _refuse_unknown(schema, {keyword}, where)
                return _either([self.kind(one, name, where) for one in schema[keyword]])
        if "enum" in schema or "const" in schema:
            _refuse_unknown(schema, {"enum", "const", "type"}, where)
            return _one_of(schema["enum"] if "enum" in schema else [schema["const"]], where)
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return _either([self.kind({**_only_for(schema, one), "type": one}, name, where) for one in kinds])
        if kinds not in _KNOWN:
            raise ConfigError(f"{where}: type is {kinds!r}; it is one of {', '.join(_KNOWN)}")
        return self._of_type(str(kinds), schema, name, where)

    def _of_type(self, kind: str, schema: Mapping[str, Any], name: str, where: str) -> Any:
        bounds = _BOUNDS.get("integer" if kind == "number" else kind, {})
        _refuse_unknown(schema, {"type", *_KNOWN[kind], *bounds}, where)
        if kind == "object":
            return self.model(schema, name, where) if schema.get("properties") else dict[str, Any]
        if kind == "array":
            item = self.kind(schema["items"], name, f"{where}, items") if "items" in schema else Any
            made: Any = list[item]  # type: ignore[valid-type]  # it is known only now
        elif kind == "string" and "format" in schema:
            if schema["format"] not in _FORMATS:
                raise ConfigError(f"{where}: format is {schema['format']!r}; it is one of {', '.join(_FORMATS)}")
            made = _FORMATS[schema["format"]]
        else:
            made = _PLAIN[kind]
        given = {bounds[keyword]: schema[keyword] for keyword in bounds if keyword in schema}
        return Annotated[made, Field(**given)] if given else made

    def _referred(self, schema: Mapping[str, Any], where: str) -> Any:
        reference = schema["$ref"]
        _refuse_unknown(schema, {"$ref"}, where)
        if reference in self._open:
            raise ConfigError(f"{where}: {reference} refers to itself; an answer has a fixed depth")
        found: Any = self._document
        for part in str(reference).removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, Mapping) else None
        if not str(reference).startswith("#/") or found is None:
            raise ConfigError(f"{where}: {reference} is not in this document")
        self._open.append(reference)
        try:
            return self.kind(found, _class_name(str(reference).rpartition("/")[2]), where)
        finally:
            self._open.pop()


def _refuse_unknown(schema: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = [keyword for keyword in schema if keyword not in known | _WORDS]
    if unknown:
        raise ConfigError(
            f"{where}: {', '.join(map(repr, unknown))} would not be checked; leave it out, or declare a Pydantic model "
            "in a Python file"
        )


def _only_for(schema: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Of a schema of several types, what is about one of them."""
    others = {word for one in _KNOWN for word in (*_KNOWN[one], *_BOUNDS.get(one, {})) if one != kind}
    own = {*_KNOWN.get(kind, ()), *_BOUNDS.get("integer" if kind == "number" else kind, {})}
    return {word: value for word, value in schema.items() if word not in others - own}


def _either(kinds: list[Any]) -> Any:
    return Union[tuple(kinds)]  # noqa: UP007 - they are known only now


def _one_of(values: Any, where: str) -> Any:
    if not isinstance(values, list) or not values or any(isinstance(one, dict | list | float) for one in values):
        raise ConfigError(f"{where}: enum is a list of texts, whole numbers, true, false or null")
    return Literal[tuple(values)]


def _class_name(words: str) -> str:
    """A name that APIs take for a schema: letters, digits and '_'."""
    name = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", words) if part)
    return name if name[:1].isalpha() else f"Answer{name}"
