"""The environment of prompts: Jinja in a sandbox, strict about names, the same text for the same row every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from greennode_batch.errors import ConfigError
from greennode_batch.request.data_urls import BYTES, data_url


class _Null(str):
    """NULL as templates see it: an empty text to every filter and to `~`, yet `is none` and `== none`."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, _Null)

    def __hash__(self) -> int:
        return hash(None)


NULL = _Null()
_PLAIN = frozenset({str, int, float, bool, _Null})


def shown(value: Any) -> Any:
    """What `{{ value }}` writes. Raises TypeError for what has no text of its own."""
    if type(value) in _PLAIN or isinstance(value, jinja2.Undefined):
        return value
    if value is None:
        return ""
    # Their texts hold an address of this process' memory: another one in every run, and so another request.
    if callable(value) or isinstance(value, Iterator | BYTES):
        kind = type(value).__name__
        way_out = "a filter that gives many values needs | join or | list; an image's bytes need | data_url"
        raise TypeError(f"a {kind} has no text of its own; {way_out}")
    return value


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False, finalize=shown)
    environment.tests["none"] = lambda value: value is None or isinstance(value, _Null)
    environment.filters["data_url"] = data_url
    # Content addresses everything here: what gives another text at each call has no place in a prompt.
    del environment.filters["random"]
    del environment.globals["lipsum"]
    return environment


ENVIRONMENT = _environment()


@contextmanager
def syntax_errors(name: str) -> Iterator[None]:
    """What is no Jinja as a ConfigError with the line. name: what the template is called there."""
    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"{name}, line {error.lineno}: {error.message}") from None
