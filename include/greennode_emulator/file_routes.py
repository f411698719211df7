"""Upload, list, look at, download and delete files."""

import secrets
import time

from fastapi import Request, Response
from fastapi.responses import FileResponse

from greennode_emulator.core import Emulator
from greennode_emulator.endpoints import Endpoint, Handler
from greennode_emulator.records import FileRecord, Purpose
from greennode_emulator.refusals import RefusedError, not_found
from greennode_emulator.replies import json_reply, page_size
from greennode_emulator.uploads import Upload

_MAX_PAGE = 10_000


class FileRoutes:
    """The handlers of the file endpoints."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._dialect = emulator.dialect
        self._store = emulator.store

    def handlers(self) -> dict[Endpoint, Handler]:
        """Which handler serves which endpoint."""
        return {
            Endpoint.UPLOAD_FILE: self.upload,
            Endpoint.LIST_FILES: self.list,
            Endpoint.GET_FILE: self.get,
            Endpoint.FILE_CONTENT: self.content,
            Endpoint.DELETE_FILE: self.delete,
        }

    async def upload(self, request: Request) -> Response:
        """Store a file; it exists from the moment that all of it has arrived."""
        file_id = f"file-{secrets.token_hex(12)}"
        path = self._store.path(file_id)
        try:
            # Opened on the event loop, as everything here that takes microseconds.
            with path.open("wb") as target:
                upload = Upload(target, max_bytes=self._emulator.settings.limits.max_file_bytes)
                await upload.receive(request)
            self._check_purpose(upload.fields.get("purpose"))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        record = FileRecord(
            id=file_id,
            filename=upload.filename or "upload",
            purpose=Purpose.INPUT,
            bytes=upload.bytes,
            created_at=time.time(),
        )
        with self._store.transaction():
            self._store.files.add(record)
            self._emulator.ledger.count("files_uploaded")
        return json_reply(self._dialect.file_reply(record))

    async def list(self, request: Request) -> Response:
        """One page of files, newest first."""
        limit = page_size(request, default=_MAX_PAGE, most=_MAX_PAGE)
        after = request.query_params.get("after")
        try:
            records, more = self._store.files.newest(limit=limit, after=after)
        except KeyError:
            raise not_found("File", str(after)) from None
        return json_reply(self._dialect.list_reply([self._dialect.file_reply(one) for one in records], more))

    async def get(self, request: Request) -> Response:
        """One file's metadata."""
        return json_reply(self._dialect.file_reply(self._find(request)))

    async def content(self, request: Request) -> Response:
        """The file's bytes; Range is honoured."""
        record = self._find(request)
        return FileResponse(
            self._store.path(record.id), media_type="application/octet-stream", filename=record.filename
        )

    async def delete(self, request: Request) -> Response:
        """Remove a file. A batch that already reads it keeps its own link."""
        record = self._find(request)
        with self._store.transaction():
            self._store.files.delete(record.id)
            self._emulator.ledger.count("files_deleted")
        self._store.path(record.id).unlink(missing_ok=True)
        return json_reply(self._dialect.deleted_reply("file", record.id))

    def _find(self, request: Request) -> FileRecord:
        name = request.path_params["id"]
        record = self._store.files.get(name)
        if record is None:
            raise not_found("File", name)
        return record

    def _check_purpose(self, purpose: str | None) -> None:
        allowed = self._dialect.upload_purposes
        if purpose not in allowed:
            message = f"Invalid value for 'purpose': expected one of {sorted(allowed)}, got {purpose!r}."
            raise RefusedError(400, message, code="invalid_value", param="purpose")
