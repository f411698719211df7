"""A multipart upload, streamed part by part to disk."""

from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from greennode_emulator.refusals import RefusedError

_MAX_FIELD_BYTES = 10_000


class Upload:
    """Receives one form: the part `file` goes to `target`, the other fields are kept.

    If the file is over the limit, its size is still counted but nothing more is written: reading to the end lets the
    client see the refusal instead of a broken pipe.
    """

    def __init__(self, target: BinaryIO, *, max_bytes: int) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.bytes = 0
        self._target = target
        self._max_bytes = max_bytes
        self._header = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._value = b""

    async def receive(self, request: Request) -> None:
        """Read the whole body, holding one network chunk of it."""
        kind, options = parse_options_header(request.headers.get("content-type"))
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise RefusedError(400, "Send multipart/form-data with the parts 'file' and 'purpose'.")
        parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin_part,
                "on_header_field": lambda data, start, end: self._add_header(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._add_header(1, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._name_part,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
            },
        )
        try:
            async for chunk in request.stream():
                # Written on the event loop: the page cache takes a chunk in some 20 microseconds.
                parser.write(chunk)
            parser.finalize()
        except MultipartParseError as error:
            raise RefusedError(400, f"The form cannot be read: {error}") from error
        if self.filename is None:
            raise RefusedError(
                400, "Missing required parameter: 'file'.", code="missing_required_parameter", param="file"
            )
        if self.bytes > self._max_bytes:
            message = f"The file has {self.bytes} bytes; at most {self._max_bytes} are allowed."
            raise RefusedError(413, message, code="file_too_large", param="file")

    def _begin_part(self) -> None:
        self._headers = {}
        self._name, self._value = "", b""

    def _add_header(self, side: int, data: bytes) -> None:
        self._header[side] += data

    def _end_header(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _name_part(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name == "file":
            self.filename = Path(options.get(b"filename", b"upload").decode("utf-8", "replace")).name

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            self.bytes += end - start
            if self.bytes <= self._max_bytes:
                self._target.write(memoryview(data)[start:end])
        elif len(self._value) < _MAX_FIELD_BYTES:
            self._value += data[start:end]

    def _end_part(self) -> None:
        if self._name != "file":
            self.fields[self._name] = self._value.decode("utf-8", "replace")
