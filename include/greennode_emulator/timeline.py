"""When a batch does what: pure functions of the batch and the clock, so that a restart changes nothing."""

from greennode_emulator.records import BatchRecord, Phase

# Shares of a batch's seconds: the first tenth validates, the last tenth finalizes.
VALIDATED = 0.1
ANSWERED = 0.9
CANCELLING = 0.1


def lines_due(batch: BatchRecord, *, now: float) -> int:
    """How many of the batch's lines should be answered by now."""
    if batch.seconds <= 0:
        return batch.total
    age = (now - batch.created_at) / batch.seconds
    share = (age - VALIDATED) / (ANSWERED - VALIDATED)
    return int(batch.total * min(1.0, max(0.0, share)))


def phase_ends(batch: BatchRecord) -> float:
    """The clock time before which the batch does not leave its phase."""
    match batch.phase:
        case Phase.VALIDATING:
            return batch.created_at + batch.seconds * VALIDATED
        case Phase.IN_PROGRESS:
            return batch.created_at + batch.seconds * ANSWERED
        case Phase.CANCELLING:
            return batch.entered[Phase.CANCELLING] + batch.seconds * CANCELLING
        case _:
            return batch.created_at + batch.seconds


def pause_seconds(batch: BatchRecord) -> float:
    """How long to rest between two steps: often enough to look smooth, never busy."""
    return min(0.5, max(0.005, batch.seconds / 50))
