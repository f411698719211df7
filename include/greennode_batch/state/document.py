"""Document: what every JSON document of staging has in common, the number of its format.

Fields with a default may be added to a document at any time: what the version before wrote is read with the default.
Any other change is a new format: the class gets the next number as its `tag`, and its reader accepts both classes. A
document of a format that is not known is refused by `staging.folders.read_json`, which says what to do.
"""

from __future__ import annotations

from typing import TypeVar, cast

import msgspec

T = TypeVar("T")
S = TypeVar("S")


class Document(msgspec.Struct, frozen=True, tag_field="format", tag=1):
    """A JSON document of staging; its docstring begins with the file's name. One without a number is of format 1."""


def or_before(document: type[T], before: type[S]) -> type[T | S]:
    """The type of a document that may still be what the version before wrote."""
    return cast("type[T | S]", document | before)
