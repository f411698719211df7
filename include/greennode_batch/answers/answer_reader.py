"""Answer reader: turns a model's text into the values of the target's columns, or says why it cannot."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa
from pydantic import AliasChoices, AliasPath, BaseModel, ValidationError
from pydantic.fields import FieldInfo

from greennode_batch.answers.answer_columns import answer_fields, columns_of, over_limits
from greennode_batch.answers.answer_schema import _schema
from greennode_batch.answers.declared_values import DeclaredValues
from greennode_batch.answers.json_in_text import json_in_text, unwrapped
from greennode_batch.answers.latex_in_json import may_hold_latex, with_latex
from greennode_batch.answers.tool_calls import calls_as_json
from greennode_batch.api.results.result_line import ToolCall
from greennode_batch.source.column_types import _MARK
from greennode_batch.state.column_limit import ColumnLimit

_SHOWN_CHARACTERS = 500
_REASON_CHARACTERS = 1_000
_BEFORE_ANSWER = "; the answer was: "
_HASH_CHARACTERS = 16
_LIMITS = b"greennode limits"
_JSON_BEGINS = ("{", "[", '"')
_EMPTY = re.compile(r"\s*\{\s*\}\s*")


class _NoFieldError(Exception):
    """An object has none of the fields of a model whose fields are all optional."""


class AnswerReader:
    """Reads texts as values of the answer's columns.

    Without an answer model, the text itself is the only value, in the column `answer`.
    """

    def __init__(self, model: type[BaseModel] | None, limits: Sequence[ColumnLimit] = ()) -> None:
        """Raise ConfigError for an answer model that has no JSON schema.

        limits: those of the targets' columns. An answer beyond one of them is not valid.
        """
        self._validate: Callable[[str], BaseModel] | None = (
            model.__pydantic_validator__.validate_json if model else None
        )
        self.fields: tuple[pa.Field, ...] = answer_fields(model) if model else (pa.field("answer", pa.string()),)
        """The answer's columns, in order."""
        self._limits = tuple(limits)
        names = [field.name for field in self.fields]
        self._all_fields = _getter(names)
        schema = _schema(model, "validation") if model else {}
        self._declared = DeclaredValues(schema)
        self._names = _names(model) if model else frozenset()
        # Then any object is valid, and only one with a field of the model's is meant as an answer.
        self._is_optional = model is not None and not any(info.is_required() for info in model.model_fields.values())
        self._fields_of = self._fields_meant if self._is_optional else self._all_fields
        digest = hashlib.blake2b(json.dumps(schema, sort_keys=True).encode(), digest_size=16).hexdigest()
        self.mark: Mapping[bytes, bytes] = {_MARK: digest.encode()}
        """Metadata that identifies the answer model, and the limits if there are any, in the schema of results."""
        if limits:
            self.mark = {**self.mark, _LIMITS: msgspec.json.encode(self._limits)}

    @property
    def model_hash(self) -> str:
        """A short hash of the answer model, stored with final outcomes that hold for this model only."""
        return self.mark[_MARK][:_HASH_CHARACTERS].decode()

    def made(self, results: pa.Schema) -> bool:
        """Whether these results were read with this answer model and these limits, as this version reads them."""
        metadata = results.metadata or {}
        has_mark = all(metadata.get(key) == self.mark.get(key) for key in (_MARK, _LIMITS))
        return has_mark and all(
            field.name in results.names and results.field(field.name).type == field.type for field in self.fields
        )

    def read(self, text: str) -> tuple[Any, ...] | str:
        """Return the values in the order of `fields`, or a text that says why the answer is not valid."""
        if self._validate is None:
            if not text.strip():
                return "the answer is empty"
            unfit = over_limits([[text]], self.fields, self._limits)
            return _invalid(unfit[0], text) if unfit else (text,)
        try:
            values = self._values(text)
        except Exception as error:  # noqa: BLE001 - a person's validator may raise anything
            return _invalid(_reasons(error), text)
        columns, reasons = columns_of([values], self.fields, self._limits)
        return _invalid(reasons[0], text) if reasons else tuple(one for (one,) in columns)

    def called(self, calls: Sequence[ToolCall]) -> str:
        """The text to read if the model calls tools.

        Without an answer model, it is a JSON list of all calls; with one, the arguments of the last call.
        """
        return calls_as_json(calls) if self._validate is None else calls[-1].arguments

    def read_columns(self, texts: Sequence[str]) -> tuple[Sequence[int], list[Sequence[Any]]]:
        """Read many texts like `read`; return the indexes of the valid answers, and their values by column."""
        indexes: Sequence[int]
        if self._validate is None:
            is_whole = all(texts) and not any(map(str.isspace, texts))
            indexes = range(len(texts)) if is_whole else [index for index, text in enumerate(texts) if text.strip()]
            columns: list[Sequence[Any]] = [texts if is_whole else [texts[index] for index in indexes]]
            unfit: Mapping[int, str] = over_limits(columns, self.fields, self._limits)
        else:
            indexes, read = self._valid(texts)
            columns, unfit = columns_of(read, self.fields, self._limits)
        if unfit:
            fit = [row not in unfit for row in range(len(indexes))]
            indexes, columns = list(compress(indexes, fit)), [list(compress(column, fit)) for column in columns]
        return indexes, columns

    def _valid(self, texts: Sequence[str]) -> tuple[list[int], list[tuple[Any, ...]]]:
        """The indexes of the texts that the model takes, and their fields."""
        indexes, read = [], []
        for index, text in enumerate(texts):
            try:
                read.append(self._values(text))
            except Exception:  # noqa: BLE001, S112 - a person's validator may raise anything; `read` says what
                continue
            indexes.append(index)
        return indexes, read

    def _values(self, text: str) -> tuple[Any, ...]:
        """Validate the text, or a JSON value inside it, and return its fields.

        Returns only the fields, so that the model instance is freed. Raises the error of the likeliest answer, which
        is a ValidationError, or whatever a validator of the model raises.
        """
        assert self._validate is not None, "without a model there is nothing to fit"
        meant: Exception | None = None
        if not may_hold_latex(text):
            try:
                return self._fields_of(self._validate(text))
            except Exception as error:  # noqa: BLE001 - a person's validator may raise anything
                meant = error
        return self._sought(text, meant)

    def _sought(self, text: str, meant: Exception | None) -> tuple[Any, ...]:
        """The fields of the last valid answer in a text. Raises the error of the likeliest one.

        meant: the error of the text as it is; None if that was not tried.
        """
        whole = (text,) if meant is None or text.lstrip()[:1] in _JSON_BEGINS else ()
        empty: str | None = None
        has_other = False
        for part in itertools.chain(whole, json_in_text(text)):
            for form in self._forms(part):
                try:
                    return self._fields_of(self._validated(form))
                except Exception as error:  # noqa: BLE001 - a person's validator may raise anything
                    if meant is None or (_is_no_json(meant) and not _is_no_json(error)):
                        meant = error
                    if _EMPTY.fullmatch(part):
                        empty = part
                    elif self._is_optional and not _is_no_json(error):
                        has_other = True
        if not self._is_optional or empty is None or has_other:
            assert meant is not None, "the text itself was tried"
            raise meant
        return self._all_fields(self._validated(empty))

    def _forms(self, part: str) -> Iterator[str]:
        """What a JSON value may be meant as, likeliest first."""
        latex = with_latex(part)
        if latex != part:
            yield latex
        yield part
        yield from unwrapped(latex, self._names)

    def _validated(self, text: str) -> BaseModel:
        """Validate a text, and once more with the declared spelling of its values where the model takes no other."""
        assert self._validate is not None, "without a model there is nothing to fit"
        try:
            return self._validate(text)
        except ValidationError as error:
            spelled = self._declared.spelled(text, error)
            if spelled == text:
                raise
            return self._validated(spelled)

    def _fields_meant(self, answer: BaseModel) -> tuple[Any, ...]:
        """The fields of an object. Raises _NoFieldError if it gives none of them."""
        if answer.model_fields_set.isdisjoint(type(answer).model_fields):
            raise _NoFieldError(f"it has none of the fields {', '.join(sorted(self._names))}")
        return self._all_fields(answer)


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


def _names(model: type[BaseModel]) -> frozenset[str]:
    """The keys by which an object may give the model's fields."""
    return frozenset(itertools.chain.from_iterable(_keys(name, info) for name, info in model.model_fields.items()))


def _keys(name: str, info: FieldInfo) -> Iterator[str]:
    yield name
    alias = info.validation_alias
    for one in alias.choices if isinstance(alias, AliasChoices) else [alias]:
        if isinstance(one, AliasPath):
            yield str(one.path[0])
        elif one is not None:
            yield one


def _is_no_json(error: Exception) -> bool:
    if not isinstance(error, ValidationError):
        return False
    return error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] == "json_invalid"


def _invalid(reasons: str, text: str) -> str:
    # A validator may put anything into its words, and a column takes only what UTF-8 can hold.
    words = reasons[:_REASON_CHARACTERS].encode("utf-8", "replace").decode()
    return f"{words}{_BEFORE_ANSWER}{text[:_SHOWN_CHARACTERS]}"


def _reasons(error: Exception) -> str:
    if isinstance(error, _NoFieldError):
        return f"answer: {error}"
    if not isinstance(error, ValidationError):
        return f"answer: the answer model raises {type(error).__name__}: {error}"
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)[:5]
    )
