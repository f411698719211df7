"""Prompts: Jinja over a row's columns, strict about names, the same text for the same row every time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from greennode_batch.build.source import RowBatch
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


class TextSource(Protocol):
    """What gives one text for each row of a batch."""

    def texts(self, batch: RowBatch) -> list[str]:
        """The texts, in the order of the rows. Raises RowError, which tells the row's place."""


class ColumnText:
    """`{{ column }}` alone: what Jinja would write, without Jinja."""

    def __init__(self, column: str, name: str) -> None:
        self._column = column
        self._name = name

    def texts(self, batch: RowBatch) -> list[str]:
        """The column's values as texts."""
        values = batch.values(self._column)
        try:
            return [value if type(value) is str else _written(value) for value in values]
        except TypeError as error:
            place = next(place for place, value in enumerate(values) if not _has_text(value))
            raise RowError(f"{self._name}: TypeError: {error}", row=place) from error


class Prompt:
    """One Jinja template over the columns of a row. NULL renders as nothing; a missing column is an error.

    columns: all that the source has. pieces: the template as constant texts and sources of texts, in order.
    """

    def __init__(self, text: str, columns: Sequence[str], *, name: str = "prompt") -> None:
        self.name = name
        self._known = tuple(columns)
        with _syntax_errors(name):
            syntax = _ENVIRONMENT.parse(text)
            named = _names(syntax)
            self.columns = tuple(column for column in columns if column in named)
            self.pieces = _plain_pieces(syntax, self.columns, name) or (self,)
            template = _ENVIRONMENT.from_string(syntax)
        # One context for all rows: rendering through Template.render builds one a row and takes three times
        # as long. What a row sets in it is cleared before the next.
        self._values: dict[str, Any] = {**template.globals}
        self._context = template.new_context(self._values, shared=True)
        self._render = template.root_render_func

    def texts(self, batch: RowBatch) -> list[str]:
        """The text for each row."""
        columns = [batch.values(name) for name in self.columns]
        rows = zip(*columns, strict=True) if columns else itertools.repeat((), len(batch))
        texts: list[str] = []
        for row in rows:
            texts.append(self._text(row, place=len(texts)))
        return texts

    def _text(self, row: Sequence[Any], *, place: int) -> str:
        self._values.update(zip(self.columns, [_NULL if value is None else value for value in row], strict=True))
        self._context.vars.clear()
        self._context.exported_vars.clear()
        try:
            return "".join(self._render(self._context))
        except jinja2.UndefinedError as error:
            raise RowError(
                f"{self.name}: {error.message}. The source has the columns {', '.join(self._known)}; "
                "mend the prompt or add the column to the query",
                row=place,
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
            raise RowError(f"{self.name}: {type(error).__name__}: {error}", row=place) from error


def names_in(text: str, *, name: str) -> frozenset[str]:
    """The names in a template, which may be columns, be it that it only sets a variable of that name.

    Raises ConfigError, with the line, for what is no Jinja. name: what the template is called there.
    """
    with _syntax_errors(name):
        return _names(_ENVIRONMENT.parse(text))


def _names(syntax: nodes.Template) -> frozenset[str]:
    return frozenset(node.name for node in syntax.find_all(nodes.Name))


@contextmanager
def _syntax_errors(name: str) -> Iterator[None]:
    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"{name}, line {error.lineno}: {error.message}") from None


def _plain_pieces(syntax: nodes.Template, columns: Sequence[str], name: str) -> tuple[str | TextSource, ...] | None:
    """The pieces of a template that has only texts and columns in it; None for any other."""
    pieces: list[str | TextSource] = []
    for output in syntax.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                pieces.append(node.data)
            elif isinstance(node, nodes.Name) and node.name in columns:
                pieces.append(ColumnText(node.name, name))
            else:
                return None
    return tuple(pieces) or ("",)


def _written(value: Any) -> str:
    return str(_shown(value))


def _has_text(value: Any) -> bool:
    try:
        _shown(value)
    except TypeError:
        return False
    return True
