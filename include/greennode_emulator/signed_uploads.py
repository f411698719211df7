"""Uploads by URL: a first call names the file, a PUT sends its bytes, and in some dialects a third call ends it."""

import secrets
from pathlib import Path

import msgspec
from fastapi import Request, Response

from greennode_emulator.core import Emulator
from greennode_emulator.dialects.dialect import SignedUpload
from greennode_emulator.endpoints import Endpoint, Handler
from greennode_emulator.file_view import find_file, seen_file
from greennode_emulator.records import FileRecord, FileStatus, Purpose
from greennode_emulator.refusals import RefusedError, bad_body
from greennode_emulator.replies import json_reply
from greennode_emulator.reshaping import put
from greennode_emulator.upload_checks import UploadChecks

_first_call = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)


class SignedUploads:
    """The handlers of an upload in steps."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._dialect = emulator.dialect
        self._store = emulator.store
        self._clock = emulator.settings.clock
        self._checks = UploadChecks(emulator)

    def handlers(self) -> dict[Endpoint, Handler]:
        """Which handler serves which endpoint."""
        return {Endpoint.STORE: self.store, Endpoint.COMMIT_FILE: self.commit}

    async def begin(self, request: Request, steps: SignedUpload) -> Response:
        """Name a file, and return the URL for its bytes; it exists from now on, without them."""
        try:
            body = _first_call.decode(await request.body())
            fields = {name: _text.decode(value) for name, value in body.items() if name in (steps.filename, "purpose")}
        except msgspec.DecodeError as error:
            raise bad_body(error) from error
        if steps.filename not in fields:
            message = f"Missing required parameter: '{steps.filename}'."
            raise RefusedError(400, message, code="missing_required_parameter", param=steps.filename)
        self._checks.check_purpose(fields.get("purpose"))
        now = self._clock()
        record = FileRecord(
            id=self._dialect.file_id(secrets.token_hex(12)),
            filename=Path(fields[steps.filename]).name,
            purpose=Purpose.INPUT,
            bytes=0,
            created_at=now,
            status=FileStatus.AWAITING_UPLOAD,
            faults=self._emulator.faults.take_file(),
        )
        self._store.files.add(record)
        reply = self._dialect.file_reply(seen_file(record, now=now))
        put(reply, steps.url, self._emulator.storage.url(request, record.id, elsewhere=steps.elsewhere))
        return json_reply(self._dialect.upload_reply(reply), status=self._dialect.upload_status)

    async def store(self, request: Request) -> Response:
        """Receive the bytes of a file; a second PUT replaces them, as in an object store."""
        self._emulator.storage.check(request)
        steps, name = self._dialect.signed_upload, request.path_params["id"]
        record = self._store.files.get(name)
        if steps is None or record is None or record.purpose is not Purpose.INPUT:
            raise RefusedError(404, "The specified key does not exist.", code="NoSuchKey")
        arriving = self._store.path(f"{name}.{secrets.token_hex(4)}")
        try:
            size = await self._receive(request, arriving)
            self._checks.check_size(request, size)
        except BaseException:
            arriving.unlink(missing_ok=True)
            raise
        # A batch may have a link to the earlier bytes; it keeps those.
        arriving.replace(self._store.path(name))
        status = FileStatus.UPLOADED if steps.commit else FileStatus.PROCESSED

        def change(record: FileRecord) -> FileRecord:
            known = record.status is not FileStatus.AWAITING_UPLOAD
            return msgspec.structs.replace(record, bytes=size, status=record.status if known else status)

        with self._store.transaction():
            self._store.files.update(name, change)
            if record.status is FileStatus.AWAITING_UPLOAD:
                self._emulator.ledger.count("files_uploaded")
        return Response(status_code=200)

    async def commit(self, request: Request) -> Response:
        """End an upload whose bytes have arrived; repeated, it changes nothing."""
        now = self._clock()
        record = find_file(self._store, request.path_params["id"], now=now)
        if record.status == FileStatus.AWAITING_UPLOAD:
            raise RefusedError(409, f"File {record.id} has not been uploaded.", code="file_not_uploaded")

        def change(record: FileRecord) -> FileRecord:
            return msgspec.structs.replace(record, status=FileStatus.PROCESSED)

        record = self._store.files.update(record.id, change) or record
        return json_reply(self._dialect.file_get_reply(self._dialect.file_reply(seen_file(record, now=now))))

    async def _receive(self, request: Request, path: Path) -> int:
        """The number of bytes; those of a file over the limit are counted, and not written."""
        size, most = 0, self._emulator.settings.limits.max_file_bytes
        with path.open("wb") as target:
            async for chunk in request.stream():
                size += len(chunk)
                if size <= most:
                    target.write(chunk)
        if size > most:
            message = f"The file has {size} bytes; at most {most} are allowed."
            raise RefusedError(413, message, code="EntityTooLarge")
        return size
