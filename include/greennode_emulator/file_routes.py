"""Upload, list, read, download and delete files."""

import asyncio
import gzip
import secrets

from fastapi import Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from greennode_emulator.core import Emulator
from greennode_emulator.dialects.dialect import Reply
from greennode_emulator.endpoints import Endpoint, Handler
from greennode_emulator.faults.call_acts import fault_of, is_reply_lost
from greennode_emulator.faults.call_faults import ContentUrl
from greennode_emulator.file_view import find_file, seen_file
from greennode_emulator.listing import list_page
from greennode_emulator.multipart_upload import Upload
from greennode_emulator.records import FileRecord, FileStatus, Purpose
from greennode_emulator.refusals import RefusedError
from greennode_emulator.replies import deleted_reply, json_reply
from greennode_emulator.result_files import in_form
from greennode_emulator.signed_uploads import SignedUploads
from greennode_emulator.upload_checks import UploadChecks

_MAX_PAGE = 10_000


class FileRoutes:
    """The handlers of the file endpoints."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._dialect = emulator.dialect
        self._store = emulator.store
        self._clock = emulator.settings.clock
        self._checks = UploadChecks(emulator)
        self._signed_uploads = SignedUploads(emulator)

    def handlers(self) -> dict[Endpoint, Handler]:
        """Which handler serves which endpoint."""
        return {
            **self._signed_uploads.handlers(),
            Endpoint.UPLOAD_FILE: self.upload,
            Endpoint.LIST_FILES: self.list,
            Endpoint.GET_FILE: self.get,
            Endpoint.FILE_CONTENT: self.content,
            Endpoint.FILE_URL: self.url,
            Endpoint.DELETE_FILE: self.delete,
            Endpoint.DOWNLOAD: self.download,
        }

    async def upload(self, request: Request) -> Response:
        """Store a file; one sent as a form exists once all of it has arrived."""
        if self._dialect.signed_upload is not None:
            return await self._signed_uploads.begin(request, self._dialect.signed_upload)
        file_id = self._dialect.file_id(secrets.token_hex(12))
        path = self._store.path(file_id)
        try:
            # Opened on the event loop, like everything here that takes microseconds.
            with path.open("wb") as target:
                upload = Upload(target, max_bytes=self._emulator.settings.limits.max_file_bytes)
                await upload.receive(request)
            self._checks.check_purpose(upload.fields.get("purpose"))
            self._checks.check_size(request, upload.bytes)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        now = self._clock()
        record = FileRecord(
            id=file_id,
            filename=upload.filename or "upload",
            purpose=Purpose.INPUT,
            bytes=upload.bytes,
            created_at=now,
            faults=self._emulator.faults.take_file(),
        )
        with self._store.transaction():
            self._store.files.add(record)
            self._emulator.ledger.count("files_uploaded")
        reply = self._dialect.upload_reply(self._dialect.file_reply(seen_file(record, now=now)))
        return json_reply(reply, status=self._dialect.upload_status)

    async def list(self, request: Request) -> Response:
        """One page of files, newest first."""
        now = self._clock()

        def render(record: FileRecord) -> Reply:
            return self._dialect.file_reply(seen_file(record, now=now))

        shelf = self._store.files
        page = list_page(request, shelf, self._dialect.paging, render, what="File", default=_MAX_PAGE, most=_MAX_PAGE)
        return json_reply((self._dialect.file_list_reply or self._dialect.list_reply)(page))

    async def get(self, request: Request) -> Response:
        """One file's metadata."""
        return json_reply(self._dialect.file_get_reply(self._dialect.file_reply(self._find(request))))

    async def content(self, request: Request) -> Response:
        """The file's bytes, or their URL; Range is honoured."""
        record = self._find(request)
        dialect, storage = self._dialect, self._emulator.storage
        fault = fault_of(request.scope, ContentUrl)
        if fault is not None:
            return json_reply(dialect.content_url(storage.url(request, record.id, elsewhere=fault.elsewhere)))
        if dialect.content == "bytes":
            return await self._bytes(request, record)
        url = storage.url(request, record.id, elsewhere=dialect.content_elsewhere)
        return json_reply(dialect.content_url(url)) if dialect.content == "url" else RedirectResponse(url, 302)

    async def url(self, request: Request) -> Response:
        """The URL of the file's bytes."""
        return json_reply({"url": self._emulator.storage.url(request, self._find(request).id)})

    async def download(self, request: Request) -> Response:
        """The file's bytes, for anybody who has the URL."""
        self._emulator.storage.check(request)
        return await self._bytes(request, self._find(request))

    async def delete(self, request: Request) -> Response:
        """Remove a file. A batch that already reads it keeps its link."""
        record = self._find(request)
        with self._store.transaction():
            self._store.files.delete(record.id)
            self._emulator.ledger.count("files_deleted")
        self._store.path(record.id).unlink(missing_ok=True)
        return deleted_reply(self._dialect, "file", record.id)

    def _find(self, request: Request) -> FileRecord:
        return find_file(self._store, request.path_params["id"], now=self._clock())

    async def _bytes(self, request: Request, record: FileRecord) -> Response:
        path = self._store.path(record.id)
        if record.status == FileStatus.AWAITING_UPLOAD:
            raise RefusedError(409, f"File {record.id} has not been uploaded.", code="file_not_uploaded")
        if record.answers_of is not None and not is_reply_lost(request.scope):
            self._emulator.ledger.add_served(record.answers_of)
        if record.purpose is Purpose.OUTPUT and self._dialect.content_form != "lines":
            made = await asyncio.to_thread(in_form, path.read_bytes(), self._dialect.content_form)
            return Response(made, media_type="application/octet-stream")
        if self._dialect.content_gzip == "no" or record.purpose is Purpose.INPUT:
            return FileResponse(path, media_type="application/octet-stream", filename=record.filename)
        packed = await asyncio.to_thread(lambda: gzip.compress(path.read_bytes(), mtime=0))
        headers = {"content-encoding": "gzip"} if self._dialect.content_gzip == "declared" else {}
        return Response(packed, media_type="application/octet-stream", headers=headers)
