"""Declaration: the base class of what a user declares, a dataclass whose fields Pydantic checks.

A field's annotation ends with a text for error messages: `Annotated[int, Field(ge=1), "1 or more"]`. The docstring
below a field describes it in `docs/reference/job.md`.
"""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from collections.abc import Mapping
from typing import ClassVar, Self, get_type_hints

from pydantic import ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from greennode_batch.errors import ConfigError
from greennode_batch.wording import given_by


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class Declaration:
    """Base class of declarations. Raises ConfigError, which names the field, for a wrong, missing or unknown one."""

    what: ClassVar[str]
    """What error messages call the declaration. Its `name` follows, if it has one."""
    renamed: ClassVar[Mapping[str, str]] = {}
    """Renamed fields: the name in the last release -> the name now. Old names still work, with a warning."""

    @model_validator(mode="wrap")
    @classmethod
    def _name_the_field(cls, given: ArgsKwargs, handler: ModelWrapValidatorHandler[Self]) -> Self:
        given = cls._with_new_names(given)
        try:
            return handler(given)
        except ValidationError as error:
            named = given.kwargs or {}
            where = f"{cls.what} {named['name']}" if "name" in named else cls.what
            fields = [one.name for one in dataclasses.fields(cls)]
            if given.args:
                raise ConfigError(f"{where}: give each argument by its name: {fields[0]}=…") from None
            found = [str(one["loc"][0]) for one in error.errors()]
            # A misspelt name also makes the right one missing: report the misspelt one.
            field = next((name for name in found if name not in fields), found[0])
            if field not in fields:
                near = difflib.get_close_matches(field, fields, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(fields)}"
                raise ConfigError(f"{where}: there is no field {field!r}; {hint}") from None
            *_, meaning = get_type_hints(cls, include_extras=True)[field].__metadata__
            # A prompt may be long.
            value = f"is {named[field]!r:.200}" if field in named else "is missing"
            raise ConfigError(f"{where}: {given_by(field)} {value}; it is {meaning}") from None

    @classmethod
    def _with_new_names(cls, given: ArgsKwargs) -> ArgsKwargs:
        values = dict(given.kwargs or {})
        for old, new in cls.renamed.items():
            if old not in values:
                continue
            if new in values:
                raise ConfigError(f"{cls.what}: {old} is the old name of {new}; give {new} alone")
            warnings.warn(f"{old} is now {new}; the next release removes the old name", DeprecationWarning, 4)
            values[new] = values.pop(old)
        return ArgsKwargs(given.args, values)
