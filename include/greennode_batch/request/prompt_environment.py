"""Prompt environment: sandboxed Jinja in which unknown names are errors and equal rows give equal texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from greennode_batch.errors import ConfigError
from greennode_batch.request.data_urls import BYTES, data_url
from greennode_batch.source.exact_json import json_text
from greennode_batch.wording import given_by


class _Null(str):
    """NULL in a template: an empty text for filters and `~`, yet true for `is none` and `== none`."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, _Null)

    def __hash__(self) -> int:
        return hash(None)


NULL = _Null()
ROW = "row"
"""The name by which a template reaches any column, as in `row["Any Name"]`, unless a column itself has it."""


class SourceRow:
    """A row in a template: `row["Any Name"]` is the value of a column. It has the columns that the template names."""

    __iter__ = None  # Python would count indexes up for ever

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __getitem__(self, name: object) -> Any:
        """The value; an undefined one for a name that is no column, or that the template does not give in quotes."""
        if name in self.values:
            return self.values[str(name)]
        hint = f"row[{json.dumps(name, ensure_ascii=False, default=repr)}] is undefined"
        return jinja2.StrictUndefined(f"{hint}; the name of a column stands in quotes right behind row")


_PLAIN = frozenset({str, int, float, bool, _Null})


def shown(value: Any) -> Any:
    """Return what `{{ value }}` writes. Raises TypeError for a value without a text form."""
    if type(value) in _PLAIN or isinstance(value, jinja2.Undefined):
        return value
    if value is None:
        return ""
    if isinstance(value, SourceRow):
        raise TypeError('a row has no text form; name one of its columns, as in row["Any Name"]')
    # Their texts contain a memory address, which differs in every run and would change the request.
    if callable(value) or isinstance(value, Iterator | BYTES):
        kind = type(value).__name__
        way_out = (
            "add | join or | list to a filter that returns many values, | data_url to the bytes of an image; declare "
            f"bytes that are text as text by {given_by('types')}"
        )
        raise TypeError(f"a {kind} has no text form; {way_out}")
    return value


def _dumps(value: Any, **options: Any) -> str:
    """What `| tojson` writes: all digits of numbers that no float has."""
    try:
        return json.dumps(value, **options)
    except TypeError:
        if not _has_decimals(value):
            raise
        return json_text(value, **options)


def _has_decimals(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_decimals, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Decimal)


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False, finalize=shown)
    environment.tests["none"] = lambda value: value is None or isinstance(value, _Null)
    environment.filters["data_url"] = data_url
    environment.policies["json.dumps_function"] = _dumps
    # Requests are addressed by their content, so nothing that renders differently each time belongs in a prompt.
    del environment.filters["random"]
    del environment.globals["lipsum"]
    return environment


ENVIRONMENT = _environment()


@contextmanager
def syntax_errors(name: str) -> Iterator[None]:
    """Turn Jinja's syntax errors into ConfigError with the line. name: the template's name in the message."""
    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        hint = '. A column whose name is not a plain word is written row["Any Name"]' if _is_word(error) else ""
        raise ConfigError(f"{name}, line {error.lineno}: {error.message}{hint}") from None


def _is_word(error: jinja2.TemplateSyntaxError) -> bool:
    """Whether a name that Jinja cannot read may be the cause."""
    return (error.message or "").startswith(("expected token", "unexpected char", "unexpected '"))
