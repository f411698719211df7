"""Values that satisfy a JSON schema, as Pydantic writes them; every choice comes from the dice."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from greennode_emulator import scalars
from greennode_emulator.answer_words import word
from greennode_emulator.dice import Dice
from greennode_emulator.scalars import Schema, UnsatisfiableError

# Keywords that cannot be honoured are refused, never silently ignored.
_UNSUPPORTED = frozenset({"not", "if", "dependentSchemas", "dependentRequired", "contains", "unevaluatedProperties"})
# From this depth on, recursive schemas take the shortest way out; beyond the second, there is none.
_SHALLOW_DEPTH = 5
_MAX_DEPTH = 40
_ARRAY_EXTRA = 3
_UNIQUE_TRIES = 50
_SCALARS: dict[str, Callable[[Schema, Dice], Any]] = {
    "integer": scalars.integer,
    "number": scalars.number,
    "string": scalars.text,
    "boolean": lambda _schema, dice: dice.below(2) == 1,
}


def value_for(schema: Schema, dice: Dice) -> Any:
    """A value that the schema accepts, or UnsatisfiableError."""
    return _Writer(schema, dice).value(schema, 0)


class _Writer:
    """Knows the root, for references."""

    def __init__(self, root: Schema, dice: Dice) -> None:
        self._root = root
        self._dice = dice

    def value(self, schema: Any, depth: int) -> Any:
        if schema is True:
            schema = {}
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            raise UnsatisfiableError(f"no value for {schema!r}"[:200])
        while "$ref" in schema or "allOf" in schema:
            schema = self._flattened(schema)
        if not _UNSUPPORTED.isdisjoint(schema):
            raise UnsatisfiableError(f"keywords {sorted(_UNSUPPORTED & set(schema))} are not supported")
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._dice.pick(schema["enum"])
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._one_of(schema, keyword, depth)
        return self._typed(schema, depth)

    def _typed(self, schema: Schema, depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = "null" if depth >= _SHALLOW_DEPTH and "null" in kind else self._dice.pick(kind)
        if kind is None:
            kind = _implied_type(schema)
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "null":
                return None
            case _ if kind in _SCALARS:
                return _SCALARS[kind](schema, self._dice)
        raise UnsatisfiableError(f"unknown type {kind!r}")

    def _flattened(self, schema: Schema) -> Schema:
        """The schema with its reference, or all of `allOf`, merged into it."""
        rest = dict(schema)
        parts = rest.pop("allOf", [])
        if "$ref" in rest:
            parts = [self._target(rest.pop("$ref")), *parts]
        merged: dict[str, Any] = {}
        for part in [*parts, rest]:
            properties = {**merged.get("properties", {}), **part.get("properties", {})}
            required = [*merged.get("required", []), *part.get("required", [])]
            merged.update(part)
            if properties:
                merged.update(properties=properties, required=required)
        return merged

    def _target(self, reference: str) -> Schema:
        found: Any = self._root
        if reference != "#":
            for step in reference.removeprefix("#/").split("/"):
                name = step.replace("~1", "/").replace("~0", "~")
                found = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping) or set(found) == {"$ref"}:
            raise UnsatisfiableError(f"no schema at {reference!r}")
        return found

    def _one_of(self, schema: Schema, keyword: str, depth: int) -> Any:
        """One option; another if it has no value, and the plainest first at great depth."""
        rest = {name: part for name, part in schema.items() if name not in (keyword, "default", "discriminator")}
        options = list(schema[keyword])
        start = self._dice.below(len(options)) if options else 0
        options = options[start:] + options[:start]
        if depth >= _SHALLOW_DEPTH:
            options.sort(key=_weight)
        problem = UnsatisfiableError(f"an empty {keyword}")
        for option in options:
            try:
                return self.value({**rest, **option} if isinstance(option, Mapping) else option, depth + 1)
            except UnsatisfiableError as error:
                problem = error
        raise problem

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        required = set(schema.get("required", ()))
        result = {}
        for name, part in schema.get("properties", {}).items():
            # An optional value is left out once in four, and always at great depth.
            if name in required or (depth < _SHALLOW_DEPTH and self._dice.below(4)):
                result[name] = self.value(part, depth + 1)
        for name in sorted(required - set(result)):
            result[name] = self.value(schema.get("additionalProperties", True), depth + 1)
        self._add_keys(schema, result, depth)
        return result

    def _add_keys(self, schema: Schema, result: dict[str, Any], depth: int) -> None:
        """Keys that the schema describes but does not name, as for `dict[str, int]`."""
        make_key = partial(self.value, schema.get("propertyNames", {}), depth + 1)
        part = schema.get("additionalProperties", True)
        if schema.get("patternProperties"):
            pattern, part = next(iter(schema["patternProperties"].items()))
            make_key = partial(scalars.text, {"pattern": pattern}, self._dice)
        least = schema.get("minProperties", 0)
        wanted = least
        if isinstance(part, Mapping) and depth < _SHALLOW_DEPTH:
            wanted = min(max(least, self._dice.between(1, 3)), schema.get("maxProperties", 3))
        if "propertyNames" not in schema and not schema.get("patternProperties"):
            make_key = partial(self._plain_key, result)
        for _ in range(_UNIQUE_TRIES):
            if len(result) >= wanted:
                return
            result.setdefault(make_key(), self.value(part, depth + 1))
        if len(result) < least:
            raise UnsatisfiableError("too few different keys")

    def _plain_key(self, taken: Mapping[str, Any]) -> str:
        key = word(self._dice)
        return f"{key}_{len(taken)}" if key in taken else key

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        heads = schema.get("prefixItems", [])
        items = schema.get("items", True)
        least = schema.get("minItems", 0)
        most = schema.get("maxItems", max(least, len(heads)) + _ARRAY_EXTRA)
        if least > most:
            raise UnsatisfiableError("minItems over maxItems")
        if depth >= _SHALLOW_DEPTH or (heads and "items" not in schema):
            most = max(least, min(most, len(heads)))
        size = self._dice.between(min(max(least, len(heads)), most), most)
        result = [self.value(part, depth + 1) for part in heads[:size]]
        if items is False:
            return result
        seen = {msgspec.json.encode(value) for value in result} if schema.get("uniqueItems") else None
        for _ in range(size + _UNIQUE_TRIES):
            if len(result) >= size:
                break
            value = self.value(items, depth + 1)
            if seen is not None:
                image = msgspec.json.encode(value)
                if image in seen:
                    continue
                seen.add(image)
            result.append(value)
        if len(result) < least:
            raise UnsatisfiableError("too few different items")
        return result


def _implied_type(schema: Schema) -> str:
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if "minimum" in schema or "maximum" in schema or "multipleOf" in schema:
        return "number"
    return "string"


def _weight(option: Any) -> int:
    """How deep an option may nest: nothing, a scalar, a list, anything else."""
    kind = option.get("type") if isinstance(option, Mapping) else None
    if kind is None or kind == "object":
        return 3
    return {"null": 0, "array": 2}.get(str(kind), 1)
