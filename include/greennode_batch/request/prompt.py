"""Prompt: a Jinja template over a row's columns; unknown names are errors, and equal rows give equal texts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import jinja2
from jinja2 import nodes

from greennode_batch.errors import RowError
from greennode_batch.request.data_urls import BYTES, data_url
from greennode_batch.request.prompt_environment import ENVIRONMENT, NULL, ROW, SourceRow, shown, syntax_errors
from greennode_batch.request.prompt_files import PromptText, column_behind_row, environment_of, names_in, text_of
from greennode_batch.source.rows import RowBatch


class TextSource(Protocol):
    """Gives one text for each row of a batch."""

    def texts(self, batch: RowBatch) -> list[str]:
        """The texts, in the order of the rows. Raises RowError with the index of the row."""


class ColumnText:
    """A lone `{{ column }}`: writes what Jinja would write, without running Jinja."""

    def __init__(self, column: str, name: str) -> None:
        self._column = column
        self._name = name

    def texts(self, batch: RowBatch) -> list[str]:
        """The column's values as texts."""
        values = batch.values(self._column)
        try:
            return [value if type(value) is str else _written(value) for value in values]
        except TypeError as error:
            index = next(index for index, value in enumerate(values) if not _has_text(value))
            raise RowError(f"{self._name}: TypeError: {error}", row=index) from error


class ColumnDataUrl:
    """A lone `{{ column | data_url }}`. media_type: the filter's argument."""

    def __init__(self, column: str, name: str, media_type: str | None = None) -> None:
        self._column = column
        self._name = name
        self._media_type = media_type

    def texts(self, batch: RowBatch) -> list[str]:
        """The column's bytes as data URLs."""
        texts: list[str] = []
        for value in batch.values(self._column):
            try:
                texts.append(data_url(value, self._media_type))
            except (TypeError, ValueError) as error:
                raise RowError(f"{self._name}: column {self._column}: {error}", row=len(texts)) from error
        return texts


class Prompt:
    """One Jinja template over the columns of a row. NULL renders as nothing; an unknown column is an error.

    columns: all columns of the source.
    """

    def __init__(self, text: str | PromptText, columns: Sequence[str], *, name: str = "prompt") -> None:
        self.name = name
        self._known = tuple(columns)
        source, files = (text.text, text.files) if isinstance(text, PromptText) else (text, {})
        environment = environment_of(files) if files else ENVIRONMENT
        named = names_in(text, name=name)
        self.columns = tuple(column for column in columns if column in named)
        """The columns that the template uses."""
        with syntax_errors(name):
            syntax = environment.parse(source)
            pieces = _plain_pieces(syntax, self.columns, name, files)
            template = environment.from_string(syntax)
        self.pieces: tuple[str | TextSource, ...] = (self,) if pieces is None else pieces or ("",)
        """The template as constant texts and sources of texts, in order."""
        # All rows share one context, because Template.render creates one for each row and takes three times as long.
        # What a row sets in the context is cleared before the next row.
        self._values: dict[str, Any] = {**template.globals}
        self._row = SourceRow()
        if ROW in named and ROW not in columns:
            self._values[ROW] = self._row
        self._context = template.new_context(self._values, shared=True)
        self._blocks = template.blocks
        self._render = template.root_render_func

    @property
    def constants(self) -> list[str]:
        """The pieces that are the same for each row."""
        return [piece for piece in self.pieces if isinstance(piece, str)]

    @property
    def sources(self) -> list[TextSource]:
        """The pieces that depend on the row."""
        return [piece for piece in self.pieces if not isinstance(piece, str)]

    def texts(self, batch: RowBatch) -> list[str]:
        """The text for each row."""
        columns = [batch.values(name) for name in self.columns]
        rows = zip(*columns, strict=True) if columns else itertools.repeat((), len(batch))
        texts: list[str] = []
        for row in rows:
            texts.append(self._text(row, index=len(texts)))
        return texts

    def _text(self, row: Sequence[Any], *, index: int) -> str:
        self._row.values = dict(zip(self.columns, [NULL if value is None else value for value in row], strict=True))
        self._values.update(self._row.values)
        self._context.vars.clear()
        self._context.exported_vars.clear()
        # Each time it renders, a template that extends another one appends the parent's blocks to its own.
        self._context.blocks = {name: [block] for name, block in self._blocks.items()}
        try:
            return "".join(self._render(self._context))
        except jinja2.UndefinedError as error:
            raise RowError(
                f"{self.name}: {error.message}. The source has the columns {', '.join(self._known)}; "
                f"fix the prompt or add the column to the source{self._hint()}",
                row=index,
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
            raise RowError(f"{self.name}: {type(error).__name__}: {error}{self._bytes_in(row)}", row=index) from error

    def _hint(self) -> str:
        odd = next((column for column in self._known if not column.isidentifier()), None)
        return (
            ""
            if odd is None
            else f". A column whose name is not a plain word is written row[{json.dumps(odd, ensure_ascii=False)}]"
        )

    def _bytes_in(self, row: Sequence[Any]) -> str:
        """Name the columns that hold bytes, which few filters accept."""
        held = [name for name, value in zip(self.columns, row, strict=True) if isinstance(value, BYTES)]
        return f" (column {', '.join(held)} holds bytes)" if held else ""


def _plain_pieces(
    syntax: nodes.Template, columns: Sequence[str], name: str, files: Mapping[str, str]
) -> tuple[str | TextSource, ...] | None:
    """Split a template that consists of texts, columns and includes of such templates; None for any other."""
    pieces: list[str | TextSource] = []
    for node in _outputs(syntax, name, files):
        piece = None if node is None else _plain_piece(node, columns, name)
        if piece is None:
            return None
        pieces.append(piece)
    return tuple(pieces)


def _outputs(
    syntax: nodes.Template, name: str, files: Mapping[str, str], within: frozenset[str] = frozenset()
) -> Iterator[nodes.Expr | None]:
    """Yield what a template writes, in order, with the output of included files; None for any other statement.

    within: the files whose inclusion led here, so that recursion ends.
    """
    for part in syntax.body:
        if isinstance(part, nodes.Output):
            yield from part.nodes
        elif isinstance(part, nodes.Include) and part.with_context and part.template.as_const() not in within:
            file = part.template.as_const()
            yield from _outputs(ENVIRONMENT.parse(text_of(file, files, name)), name, files, within | {file})
        else:
            yield None


def _plain_piece(node: nodes.Expr, columns: Sequence[str], name: str) -> str | TextSource | None:
    column = _column_of(node, columns)
    if column is not None:
        return ColumnText(column, name)
    match node:
        case nodes.TemplateData():
            return node.data
        case nodes.Filter(name="data_url", node=nodes.Expr() as bytes_of) if _column_of(bytes_of, columns) is not None:
            column = str(_column_of(bytes_of, columns))
            match node.args, node.kwargs, node.dyn_args, node.dyn_kwargs:
                case [], [], None, None:
                    return ColumnDataUrl(column, name)
                case [nodes.Const(value=str() as media_type)], [], None, None:
                    return ColumnDataUrl(column, name, media_type)
    return None


def _column_of(node: nodes.Expr, columns: Sequence[str]) -> str | None:
    """The column that an expression names, as `name` or as `row["Any Name"]`; None for any other expression."""
    column = node.name if isinstance(node, nodes.Name) else column_behind_row(node) if ROW not in columns else None
    return column if column in columns else None


def _written(value: Any) -> str:
    return str(shown(value))


def _has_text(value: Any) -> bool:
    try:
        shown(value)
    except TypeError:
        return False
    return True
