"""What all faults share."""

import re
from typing import Annotated

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
Whole = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
HttpStatus = Annotated[int, msgspec.Meta(ge=200, le=599)]


def kind_of(class_name: str) -> str:
    """`ResetAfter` is the kind "reset_after"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", class_name).lower()


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=kind_of):
    """Strikes `count` times (null: for ever), each chance taken with probability `rate`, drawn from `seed`."""

    count: Positive | None = 1
    rate: Share = 1.0
    seed: int = 0
