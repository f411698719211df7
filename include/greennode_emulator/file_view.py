"""A file as clients see it, with its faults. One reply reads the clock once."""

import msgspec

from greennode_emulator.faults.file_faults import FileNotFound, FileProcessing, FirstLooks
from greennode_emulator.records import FileRecord, FileStatus
from greennode_emulator.refusals import RefusedError, not_found
from greennode_emulator.store import Store


def find_file(store: Store, name: str, *, now: float) -> FileRecord:
    """A file for one read, which is counted. Raises RefusedError if it cannot be found yet, or ever."""
    record = store.files.get(name)
    if record is not None and record.faults:
        record = store.files.update(name, lambda file: msgspec.structs.replace(file, looks=file.looks + 1))
    if record is None or record.readable_at > now or _holding(record, FileNotFound, now) is not None:
        raise not_found("File", name)
    return seen_file(record, now=now)


def seen_file(record: FileRecord, *, now: float) -> FileRecord:
    """The file with the status that clients see."""
    if record.status is not FileStatus.PROCESSED or _holding(record, FileProcessing, now) is None:
        return record
    return msgspec.structs.replace(record, status=FileStatus.PROCESSING)


def check_processed(record: FileRecord, *, now: float) -> None:
    """Refuse a file that is still being processed, or has not arrived."""
    if record.status in (FileStatus.AWAITING_UPLOAD, FileStatus.UPLOADED):
        message = f"File {record.id} cannot be used: its status is '{record.status}'."
        raise RefusedError(400, message, code=record.status, param="input_file_id")
    fault = _holding(record, FileProcessing, now)
    if fault is not None and isinstance(fault, FileProcessing):
        message = f"File {record.id} is still being processed. Please try again later."
        raise RefusedError(fault.status, message, code=fault.code, param="input_file_id")


def _holding(record: FileRecord, kind: type[FirstLooks], now: float) -> FirstLooks | None:
    """The fault of that kind, while it is active."""
    age = now - record.created_at
    for fault in record.faults:
        if isinstance(fault, kind) and (record.looks <= fault.looks or age < fault.seconds):
            return fault
    return None
