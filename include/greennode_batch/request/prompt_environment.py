"""Prompt environment: sandboxed Jinja in which unknown names are errors and equal rows give equal texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from greennode_batch.errors import ConfigError
from greennode_batch.request.data_urls import BYTES, data_url


class _Null(str):
    """NULL in a template: an empty text for filters and `~`, yet true for `is none` and `== none`."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, _Null)

    def __hash__(self) -> int:
        return hash(None)


NULL = _Null()
_PLAIN = frozenset({str, int, float, bool, _Null})


def shown(value: Any) -> Any:
    """Return what `{{ value }}` writes. Raises TypeError for a value without a text form."""
    if type(value) in _PLAIN or isinstance(value, jinja2.Undefined):
        return value
    if value is None:
        return ""
    # Their texts contain a memory address, which differs in every run and would change the request.
    if callable(value) or isinstance(value, Iterator | BYTES):
        kind = type(value).__name__
        way_out = "add | join or | list to a filter that returns many values, | data_url to the bytes of an image"
        raise TypeError(f"a {kind} has no text form; {way_out}")
    return value


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False, finalize=shown)
    environment.tests["none"] = lambda value: value is None or isinstance(value, _Null)
    environment.filters["data_url"] = data_url
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
        raise ConfigError(f"{name}, line {error.lineno}: {error.message}") from None
