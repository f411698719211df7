"""A batch as clients see it: pure functions of the batch and the clock."""

import datetime as dt
import re

import msgspec

from greennode_emulator.dialects.dialect import Dialect, Reply
from greennode_emulator.dialects.reply_shapes import local
from greennode_emulator.faults.batch_faults import (
    Counts,
    EmptyIds,
    Forgotten,
    IdsEarly,
    LateInList,
    LocalTimes,
    NotFound,
    UnknownStatus,
)
from greennode_emulator.records import BatchRecord
from greennode_emulator.result_files import result_file_id

_NAMES_A_TIME = re.compile("(_at|At|[dD]eadline)$")
# A larger number is in milliseconds.
_LATEST_SECONDS = 10**11


def is_forgotten(batch: BatchRecord, *, now: float) -> bool:
    """Whether it has vanished: every trace of it is gone."""
    fault = batch.fault(Forgotten)
    return fault is not None and batch.looks > fault.after_looks and now - batch.created_at >= fault.after_seconds


def is_lost(batch: BatchRecord, *, now: float) -> bool:
    """Whether no poll will find it again, even if none has been made since."""
    fault = batch.fault(Forgotten)
    return fault is not None and batch.looks >= fault.after_looks and now - batch.created_at >= fault.after_seconds


def is_missed(batch: BatchRecord) -> bool:
    """Whether the poll that was just counted does not find it."""
    fault = batch.fault(NotFound)
    return fault is not None and fault.after_looks < batch.looks <= fault.after_looks + fault.looks


def counts_looks(batch: BatchRecord) -> bool:
    """Whether the number of its polls matters."""
    return batch.fault(Forgotten) is not None or batch.fault(NotFound) is not None


def is_listed(batch: BatchRecord, dialect: Dialect, *, now: float) -> bool:
    """Whether lists show it."""
    late = batch.fault(LateInList)
    delay = max(dialect.list_delay_seconds, 0.0 if late is None else late.seconds)
    return now - batch.created_at >= delay and not is_lost(batch, now=now)


def batch_reply(batch: BatchRecord, dialect: Dialect) -> Reply:
    """The batch in the dialect's form, as its faults change it."""
    word = dialect.words[batch.phase]
    odd = batch.fault(UnknownStatus)
    if odd is not None and odd.during == batch.phase:
        word = odd.word
    reply = dialect.batch_reply(_with_odd_counts(_with_odd_ids(batch, dialect)), word)
    times = batch.fault(LocalTimes)
    return reply if times is None else _with_local_times(reply, times.offset_hours)


def _with_local_times(reply: Reply, hours: float) -> Reply:
    """The reply with its times in local time; times are found by their field names."""
    return {
        name: local(_seconds(value), hours) if value and _NAMES_A_TIME.search(name) else value
        for name, value in reply.items()
    }


def _seconds(time: float | str) -> float:
    """Seconds since 1970, from any form in which a dialect may write a time."""
    if isinstance(time, str) and not time.isdecimal():
        return dt.datetime.fromisoformat(time).timestamp()
    seconds = float(time)
    return seconds / 1000 if seconds > _LATEST_SECONDS else seconds


def _with_odd_ids(batch: BatchRecord, dialect: Dialect) -> BatchRecord:
    output, error = batch.output_file_id, batch.error_file_id
    if not batch.is_over:
        if dialect.ids_early or batch.fault(IdsEarly):
            output = result_file_id(batch.id, "output", dialect)
        if batch.fault(IdsEarly):
            error = result_file_id(batch.id, "error", dialect)
    if batch.fault(EmptyIds):
        output, error = output or "", error or ""
    if (output, error) == (batch.output_file_id, batch.error_file_id):
        return batch
    return msgspec.structs.replace(batch, output_file_id=output, error_file_id=error)


def _with_odd_counts(batch: BatchRecord) -> BatchRecord:
    fault = batch.fault(Counts)
    match fault and fault.show:
        case "zero":
            return msgspec.structs.replace(batch, total=0, completed=0, failed=0)
        case "null":
            return msgspec.structs.replace(batch, counts_hidden=True)
        case "wrong":
            return msgspec.structs.replace(batch, completed=batch.completed + 1, failed=batch.failed + 2)
        case "failed_as_completed":
            return msgspec.structs.replace(batch, completed=batch.completed + batch.failed, failed=0)
        case _:
            return batch
