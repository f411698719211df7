"""Answer columns: the columns of an answer model, and answers as values that these columns can hold."""

from __future__ import annotations

import datetime
import enum
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, NaiveDatetime
from pydantic_core import to_json, to_jsonable_python

from greennode_batch.answers.answer_schema import _schema
from greennode_batch.errors import ConfigError
from greennode_batch.source.column_types import _MARK, DECLARED, MAX_CHARACTERS, DeclaredValues, is_json
from greennode_batch.source.value_limits import beyond
from greennode_batch.state.column_limit import ColumnLimit

# By type and format in the JSON schema.
_ARROW_TYPES: dict[tuple[Any, Any], pa.DataType] = {
    ("boolean", None): pa.bool_(),
    ("integer", None): pa.int64(),
    ("number", None): pa.float64(),
    ("string", "date"): pa.date32(),
    ("string", "date-time"): pa.timestamp("us", tz="UTC"),
}
_NAIVE = pa.timestamp("us")
# In microseconds: the first and the last moment that Python and every database have.
_FIRST_MOMENT, _LAST_MOMENT = -62_135_596_800_000_000, 253_402_300_799_999_999
# PostgreSQL's numeric, the widest of all databases.
_MAX_DIGITS, _MAX_SCALE = 131_072, 16_383
_SHOWN_CHARACTERS = 100


def answer_fields(model: type[BaseModel]) -> tuple[pa.Field, ...]:
    """The columns of an answer model, in order. Raises ConfigError if it has none, or no JSON schema."""
    # The serialization schema, because values are stored as serialized: a Decimal may be read from a number, but is
    # written as text.
    schema = _schema(model, "serialization")
    if "$ref" in schema:  # a recursive model
        schema = {**schema, **schema["$defs"][schema["$ref"].rpartition("/")[2]]}
    by_name = schema.get("properties", {"root": schema})
    fields = []
    for name, info in model.model_fields.items():
        part, definitions = by_name.get(info.serialization_alias or name, {}), schema.get("$defs", {})
        arrow = _arrow_type(part, definitions)
        if arrow is not None and pa.types.is_timestamp(arrow) and _is_naive(info.annotation):
            arrow = _NAIVE
        metadata = {_MARK: b"json"} if arrow is None else _metadata(_parts(part, definitions), arrow)
        fields.append(pa.field(name, arrow or pa.string(), metadata=metadata))
    if not fields:
        raise ConfigError(f"answer model {model.__name__}: it has no fields, and each of them is a column; declare one")
    return tuple(fields)


def _metadata(parts: Sequence[Mapping[str, Any]], arrow: pa.DataType) -> dict[bytes, Any] | None:
    """What a field says about its values, for a target's columns."""
    limit = _max_characters(parts) if arrow == pa.string() else None
    declared = _declared(parts, arrow)
    made: dict[bytes, Any] = {} if limit is None else {MAX_CHARACTERS: str(limit)}
    if declared != DeclaredValues():
        made[DECLARED] = json.dumps(declared)
    return made or None


def columns_of(
    answers: Sequence[tuple[Any, ...]], fields: Sequence[pa.Field], limits: Iterable[ColumnLimit] = ()
) -> tuple[list[Sequence[Any]], Mapping[int, str]]:
    """Transpose answers into one list of values per column.

    Also returns why an answer does not fit, by the answer's index: a column cannot hold one of its values. limits:
    those of the targets' columns.
    """
    values: Iterable[Sequence[Any]] = zip(*answers, strict=True) if answers else [()] * len(fields)
    columns, reasons = [], dict[int, str]()
    for field, column in zip(fields, values, strict=True):
        plain, unfit = _fitted(column, field)
        columns.append(plain)
        for index, reason in unfit.items():
            reasons.setdefault(index, f"{field.name}: {reason}")
    return columns, {**over_limits(columns, fields, limits), **reasons}


def over_limits(
    columns: Sequence[Sequence[Any]], fields: Sequence[pa.Field], limits: Iterable[ColumnLimit]
) -> dict[int, str]:
    """Why a target's column does not hold a value, by the index of the answer. columns: values as fields hold them."""
    indexes = {field.name: index for index, field in enumerate(fields)}
    reasons: dict[int, str] = {}
    for limit in limits:
        if (index := indexes.get(limit.column)) is None:
            continue
        is_beyond = beyond(pa.array(columns[index], fields[index].type), limit, may_round=True)
        for row in pc.indices_nonzero(is_beyond).to_pylist():
            reasons.setdefault(row, f"{limit.column}: {limit}")
    return reasons


def _parts(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The JSON schemas of which a value matches one; null does not count."""
    if "$ref" in schema:
        return _parts(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
    if "anyOf" in schema:
        return [one for part in schema["anyOf"] if part.get("type") != "null" for one in _parts(part, definitions)]
    return [schema]


def _listed(schema: Mapping[str, Any]) -> list[Any] | None:
    """The values of an enumeration; None if the schema is none."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if values is None else [value for value in values if value is not None]


def _max_characters(parts: Iterable[Mapping[str, Any]]) -> int | None:
    """How many characters a text of these JSON schemas has at most; None if nothing limits it."""
    limits: list[int | None] = []
    for part in parts:
        listed = _listed(part)
        limits.append(part.get("maxLength") if listed is None else max((len(str(one)) for one in listed), default=0))
    return None if None in limits else max((limit for limit in limits if limit is not None), default=None)


def _declared(parts: Sequence[Mapping[str, Any]], arrow: pa.DataType) -> DeclaredValues:
    """Which values a field with these JSON schemas may have."""
    listed = [_listed(part) for part in parts]
    if pa.types.is_string(arrow):
        words = [str(one) for values in listed for one in values or ()]
        return DeclaredValues(words if parts and None not in listed else None)
    if not pa.types.is_integer(arrow):
        return DeclaredValues()
    ranges = [_range(part) for part in parts]
    lower = [low for low, _ in ranges if low is not None]
    upper = [high for _, high in ranges if high is not None]
    return DeclaredValues(
        None,
        math.floor(min(lower)) if parts and len(lower) == len(parts) else None,
        math.ceil(max(upper)) if parts and len(upper) == len(parts) else None,
    )


def _range(part: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The least and the greatest number of a JSON schema; None if nothing limits it."""
    listed = _listed(part)
    if listed is not None:
        return min(listed, default=None), max(listed, default=None)
    above, below = part.get("exclusiveMinimum"), part.get("exclusiveMaximum")
    least = part.get("minimum") if above is None else above + 1
    return least, part.get("maximum") if below is None else below - 1


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
    kinds = set(map(type, _listed(schema) or ()))
    return (
        {str: "string", int: "integer", float: "number", bool: "boolean"}.get(kinds.pop()) if len(kinds) == 1 else None
    )


def _is_naive(annotation: Any) -> bool:
    """Whether all times of a type are without a time zone. The JSON schema does not say so."""
    if (aliased := getattr(annotation, "__value__", None)) is not None:  # type X = …
        return _is_naive(aliased)
    if get_origin(annotation) is Annotated:
        return _is_naive(get_args(annotation)[0])
    parts = [part for part in get_args(annotation) if part is not NoneType]
    return all(map(_is_naive, parts)) if parts else annotation is NaiveDatetime


def _fitted(values: Sequence[Any], field: pa.Field) -> tuple[Sequence[Any], Mapping[int, str]]:
    """A field's values as its column holds them, and why some do not fit, by index."""
    try:
        plain = _plain(values, field)
        if not _has_extremes(pa.array(plain, field.type)):
            return plain, {}
    except Exception:  # noqa: BLE001, S110 - a person's serializer may raise anything; which value it was comes next
        pass
    fitted, reasons = [], {}
    for index, value in enumerate(values):
        reason = _reason(value, field)
        if reason is not None:
            reasons[index] = reason
        fitted.append(None if reason else _plain([value], field)[0])
    return fitted, reasons


def _reason(value: Any, field: pa.Field) -> str | None:
    """Why a column cannot hold a value; None if it can."""
    try:
        array = pa.array(_plain([value], field), field.type)
    except Exception as error:  # noqa: BLE001 - a person's serializer may raise anything
        if isinstance(value, int) and pa.types.is_integer(field.type):
            return "the number is too large for a column"
        return f"{str(value)[:_SHOWN_CHARACTERS]} does not fit a column of type {field.type} ({error})"
    if not _has_extremes(array):
        return None
    return "the time is not within the years 1 to 9999 (UTC)" if pa.types.is_timestamp(field.type) else "is not finite"


def _has_extremes(array: pa.Array) -> bool:
    """Whether there are values that Arrow has and databases do not."""
    if pa.types.is_floating(array.type):
        return pc.all(pc.is_finite(array)).as_py() is False
    if pa.types.is_timestamp(array.type):
        found = pc.min_max(array.view(pa.int64())).as_py()
        return found["min"] is not None and (found["min"] < _FIRST_MOMENT or found["max"] > _LAST_MOMENT)
    return False


def _plain(values: Sequence[Any], field: pa.Field) -> Sequence[Any]:
    """Convert a field's values to what Arrow accepts; most need no conversion."""
    if is_json(field):
        return [None if value is None else to_json(value, inf_nan_mode="null").decode() for value in values]
    as_text = pa.types.is_string(field.type)
    kinds = set(map(type, values)) - {NoneType}
    if not any(issubclass(kind, enum.Enum) for kind in kinds) and (not as_text or kinds <= {str}):
        return values
    return [None if value is None else _plain_value(value, as_text=as_text) for value in values]


def _plain_value(value: Any, *, as_text: bool) -> Any:
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, Decimal) and not (value.adjusted() < _MAX_DIGITS and _scale(value) <= _MAX_SCALE):
        raise ValueError("the number is too large for a column")
    if isinstance(value, datetime.timedelta) and as_text:
        return _duration(value)
    return str(to_jsonable_python(value)) if as_text and type(value) is not str else value


def _duration(value: datetime.timedelta) -> str:
    """A duration in the form of ISO 8601. Pydantic's own counts 365 days as a year, which other readers do not."""
    sign, value = ("-", -value) if value < datetime.timedelta(0) else ("", value)
    clock = str(to_jsonable_python(value - datetime.timedelta(value.days)))
    if not value.days:
        return sign + clock
    return f"{sign}P{value.days}D{'' if clock == 'PT0S' else clock[1:]}"


def _scale(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0
