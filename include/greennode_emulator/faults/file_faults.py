"""Faults of uploaded files: they strike the next uploads and stay with the file."""

from greennode_emulator.faults.fault import Fault, HttpStatus, Positive, Seconds, Whole


class FileFault(Fault, frozen=True, kw_only=True):
    """A fault of a file."""


class FirstLooks(FileFault, frozen=True, kw_only=True):
    """Holds for the first `looks` reads of the file (its metadata, or a create that names it) and for `seconds`."""

    looks: Whole = 0
    seconds: Seconds = 0


class FileNotFound(FirstLooks, frozen=True, kw_only=True):
    """The file is stored, but returns 404 for a while."""


class FileProcessing(FirstLooks, frozen=True, kw_only=True):
    """The file shows as "processing" for a while; a create that names it is refused with `status` and `code`."""

    status: HttpStatus = 400
    code: str = "file_not_ready"


class TooLarge(FileFault, frozen=True, kw_only=True):
    """Files of more than `max_bytes` are refused with 413, or by a reset, whatever the documented limit is."""

    count: Positive | None = None
    max_bytes: Whole
    reset: bool = False


AnyFileFault = FileNotFound | FileProcessing | TooLarge
