"""When a batch does what: pure functions of the batch and the clock, so that a restart changes nothing."""

import math

from greennode_emulator.faults.batch_faults import EndsEarly, Stuck
from greennode_emulator.records import BatchRecord, Phase

# Shares of a batch's seconds: the first tenth validates, the last tenth finalizes.
VALIDATED = 0.1
ANSWERED = 0.9
CANCELLING = 0.1


def lines_due(batch: BatchRecord, *, now: float) -> int:
    """How many of the batch's lines should be answered by now: all of them once `phase_ends` has come."""
    most = _most(batch)
    stuck = batch.fault(Stuck)
    if stuck is not None and stuck.status == batch.phase and now < _freed_at(batch, stuck):
        most = min(most, stuck.fraction)
    # The same comparison as for the end of the phase: a rounded share of the seconds may miss the last line.
    if batch.seconds <= 0 or now >= _answered_at(batch):
        return int(batch.total * most)
    age = (now - batch.created_at) / batch.seconds
    share = (age - VALIDATED) / (ANSWERED - VALIDATED)
    return int(batch.total * min(most, max(0.0, share)))


def phase_ends(batch: BatchRecord) -> float:
    """The clock time before which the batch does not leave its phase."""
    stuck = batch.fault(Stuck)
    if stuck is not None and stuck.status == batch.phase:
        return max(_phase_ends(batch), _freed_at(batch, stuck))
    return _phase_ends(batch)


def pause_seconds(batch: BatchRecord) -> float:
    """How long to wait between two steps: often enough to seem smooth, never busy."""
    return min(0.5, max(0.005, batch.seconds / 50))


def _phase_ends(batch: BatchRecord) -> float:
    match batch.phase:
        case Phase.VALIDATING:
            return batch.created_at + batch.seconds * VALIDATED
        case Phase.IN_PROGRESS:
            return _answered_at(batch)
        case Phase.CANCELLING:
            return batch.entered[Phase.CANCELLING] + batch.seconds * CANCELLING
        case _:
            return batch.created_at + batch.seconds


def _most(batch: BatchRecord) -> float:
    """The share of its lines that a batch answers at all."""
    early = batch.fault(EndsEarly)
    return 1.0 if early is None else early.fraction


def _answered_at(batch: BatchRecord) -> float:
    return batch.created_at + batch.seconds * (VALIDATED + (ANSWERED - VALIDATED) * _most(batch))


def _freed_at(batch: BatchRecord, stuck: Stuck) -> float:
    if stuck.seconds is None:
        return math.inf
    return batch.entered.get(batch.phase, batch.created_at) + stuck.seconds
