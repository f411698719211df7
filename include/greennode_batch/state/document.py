"""Document: the base class of every JSON document in staging, with the number of its format.

You may add a field with a default at any time: documents of the version before are read with that default. Any other
change is a new format: give the new class the next number as its `tag`, and let the reader accept both classes.
`staging.folders.read_json` refuses a document with an unknown format, with a message that says what to do.
"""

from __future__ import annotations

from typing import TypeVar, cast

import msgspec

T = TypeVar("T")
S = TypeVar("S")


class Document(msgspec.Struct, frozen=True, tag_field="format", tag=1):
    """A JSON document in staging. Its docstring begins with the file's name. Without a number, the format is 1."""


def or_before(document: type[T], before: type[S]) -> type[T | S]:
    """The type of a document that may still have the format of the version before."""
    return cast("type[T | S]", document | before)
