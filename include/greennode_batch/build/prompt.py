"""Prompts: Jinja over a row's columns, strict about names, the same text for the same row every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from greennode_batch.errors import ConfigError, RowError


class _Null(str):
    """NULL as templates see it: an empty text to every filter and to `~`, yet `is none` and `== none`."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, _Null)

    def __hash__(self) -> int:
        return hash(None)


_NULL = _Null()
_PLAIN = frozenset({str, int, float, bool, _Null})


def _shown(value: Any) -> Any:
    """What `{{ value }}` writes. Raises TypeError for what has no text of its own."""
    if type(value) in _PLAIN or isinstance(value, jinja2.Undefined):
        return value
    if value is None:
        return ""
    # Their texts hold an address of this process' memory: another one in every run, and so another request.
    if callable(value) or isinstance(value, Iterator | bytes | memoryview):
        kind = type(value).__name__
        raise TypeError(f"a {kind} has no text of its own; a filter that gives many values needs | join or | list")
    return value


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False, finalize=_shown)
    environment.tests["none"] = lambda value: value is None or isinstance(value, _Null)
    # Content addresses everything here: what gives another text at each call has no place in a prompt.
    del environment.filters["random"]
    del environment.globals["lipsum"]
    return environment


_ENVIRONMENT = _environment()


class Prompt:
    """One Jinja template over the columns of a row. NULL renders as nothing; a missing column is an error."""

    def __init__(self, text: str, columns: Sequence[str], *, name: str = "prompt") -> None:
        self.name = name
        self._columns = tuple(columns)
        try:
            template = _ENVIRONMENT.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"{name}, line {error.lineno}: {error.message}") from None
        # One context for all rows: rendering through Template.render builds one a row and takes three times
        # as long. What a row sets in it is cleared before the next.
        self._values: dict[str, Any] = {**template.globals}
        self._context = template.new_context(self._values, shared=True)
        self._render = template.root_render_func

    def render(self, row: Sequence[Any]) -> str:
        """The text for one row, whose values stand in the order of the columns."""
        self._values.update(zip(self._columns, [_NULL if value is None else value for value in row], strict=True))
        self._context.vars.clear()
        self._context.exported_vars.clear()
        try:
            return "".join(self._render(self._context))
        except jinja2.UndefinedError as error:
            raise RowError(
                f"{self.name}: {error.message}. The source has the columns {', '.join(self._columns)}; "
                "mend the prompt or add the column to the query"
            ) from None
        except (
            jinja2.TemplateError,
            TypeError,
            ValueError,
            ArithmeticError,
            LookupError,
            AttributeError,
            RecursionError,
        ) as error:
            raise RowError(f"{self.name}: {type(error).__name__}: {error}") from error
