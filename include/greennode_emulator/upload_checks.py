"""Reasons to refuse an upload, however its bytes arrive."""

from fastapi import Request

from greennode_emulator.core import Emulator
from greennode_emulator.open_connections import reset_connection
from greennode_emulator.refusals import RefusedError


class UploadChecks:
    """Checks that raise RefusedError."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def check_purpose(self, purpose: str | None) -> None:
        """Refuse a purpose that the dialect does not have."""
        allowed = self._emulator.dialect.upload_purposes
        if allowed and purpose not in allowed:
            message = f"Invalid value for 'purpose': expected one of {sorted(allowed)}, got {purpose!r}."
            raise RefusedError(400, message, code="invalid_value", param="purpose")

    def check_size(self, request: Request, size: int) -> None:
        """Refuse a file that is too large for an armed fault."""
        fault = self._emulator.faults.take_too_large(size)
        if fault is None:
            return
        if fault.reset:
            reset_connection(request.scope)
        message = f"The file has {size} bytes; at most {fault.max_bytes} are allowed."
        raise RefusedError(413, message, code="file_too_large", param="file")
