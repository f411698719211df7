"""Which fault strikes which lines of a file: a pure function of the faults and the file."""

import random
from collections.abc import Sequence
from heapq import nsmallest

from greennode_emulator.faults.fault import kind_of
from greennode_emulator.faults.line_faults import AnyLineFault


def plan_lines(faults: Sequence[AnyLineFault], *, lines: int, checksum: int) -> dict[int, AnyLineFault]:
    """The fault of each struck line, by its index; if two faults choose a line, the first one gets it."""
    plan: dict[int, AnyLineFault] = {}
    for fault in faults:
        source = random.Random(f"{fault.seed} {kind_of(type(fault).__name__)} {checksum}")  # noqa: S311 - a draw, no secret
        rolls = [source.random() for _ in range(lines)]
        struck = [index for index, roll in enumerate(rolls) if roll < fault.rate and index not in plan]
        if fault.count is not None:
            struck = nsmallest(fault.count, struck, key=rolls.__getitem__)
        plan.update(dict.fromkeys(struck, fault))
    return plan
