"""Each API operation once: a generator that yields a Call, receives its Reply and returns a typed object."""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import msgspec

from greennode_batch.api.exchange import Call, Operation, Repeat, Reply
from greennode_batch.api.paging import Pager, Parameters
from greennode_batch.api.profile import ApiProfile, route
from greennode_batch.api.results.result_document import Entry, read_document
from greennode_batch.api.results.result_line import ResultLine
from greennode_batch.api.results.tolerant_lines import result_of_body
from greennode_batch.api.uploads import Upload, filled
from greennode_batch.api.wire import (
    Batch,
    Model,
    Page,
    RemoteFile,
    WireError,
    parse_batch,
    parse_committed_id,
    parse_file,
    parse_model,
    parse_page,
    parse_upload_form,
    parse_upload_headers,
    parse_upload_method,
    parse_upload_url,
    parse_url,
    reply_object,
)
from greennode_batch.errors import ConfigError, RejectedError

# A create that is still under way must not count as one that was never sent: all of its phases end before
# `submit` stops its search for the batch, whatever the timeout of the connection.
CREATE_SECONDS = 45.0
# In deadlines of an ordinary call: a model may think for minutes, 15 if an ordinary call has one.
_CHAT_CALLS = 15
# Each pause while a file is sent, and while the server stores it after the last byte.
_UPLOAD_CALLS = 3
AWAITS_UPLOAD = re.compile(r"await|expect|wait\w*_for_upload|no_content", re.IGNORECASE)
"""The status of a file whose bytes the server has not received yet."""
_LIST_FIELDS = "list_style, page_parameter, size_parameter, first_page"
_CANCEL_FIELDS = "cancel_path, cancel_style"
# A store asks so that the same bytes go to another of its hosts.
_SENT_ELSEWHERE = frozenset({307, 308})
_MAX_REDIRECTS = 3
_GONE = frozenset({404, 410})
_ALREADY_FINISHED = frozenset({400, 409})


class Operations:
    """The operations of an API, as its profile describes them. `seconds`: the deadline of an ordinary call."""

    def __init__(self, profile: ApiProfile, *, seconds: float) -> None:
        self.profile = profile
        self.seconds = seconds
        self.chat_seconds = seconds * _CHAT_CALLS

    def get_file(self, file_id: str) -> Operation[RemoteFile]:
        """Metadata and processing status of a file."""
        reply = yield self._call(f"get file {file_id}", "GET", self._path(self.profile.file_path, file_id=file_id))
        return self._file(reply.json())

    def upload_file(self, path: Path, *, filename: str | None) -> Operation[RemoteFile]:
        """Store a file of request lines. Repeated only after no reply at all, or a 429: see `Repeat.UNANSWERED`."""
        profile = self.profile
        purpose = {"purpose": profile.purpose} if profile.purpose else {}
        name = filename or path.name
        size = path.stat().st_size
        extra = {field: filled(value, path, name=name) for field, value in profile.upload_fields.items()}
        is_presigned = profile.upload_style == "presigned"
        upload = Upload(path, filename=name, fields=None if is_presigned else purpose | extra)
        if not 0 < upload.file_bytes <= profile.max_file_bytes:
            raise ConfigError(
                f"{path} has {upload.file_bytes:,} bytes; a file may have 1 to {profile.max_file_bytes:,} "
                f"(max_file_bytes of the profile {profile.name!r}). Nothing was sent"
            )
        if is_presigned:
            # In JSON, a size is a number.
            named: dict[str, str | int] = {**purpose, **(extra or {"filename": name})}
            named |= {field: size for field, value in profile.upload_fields.items() if value == "{bytes}"}
            return (yield from self._upload_in_steps(upload, named))
        method, place = route(profile.upload_path)
        reply = yield Call(
            what=f"upload {name}",
            method=method,
            path=place,
            deadline_seconds=self.seconds * _UPLOAD_CALLS,
            upload=upload,
            repeat=Repeat.UNANSWERED,
            path_fields="upload_path",
            body_fields="purpose, upload_fields, upload_style, line_format",
        )
        remote = self._file(reply.json())
        if AWAITS_UPLOAD.search(remote.status or ""):
            raise RejectedError(
                f"upload {name}: file {remote.id} has the status {remote.status!r}: the server expects the bytes "
                "in a second call. To send them to the URL that the reply names, set upload_style 'presigned' in the "
                "connection's profile. Nothing was paid for"
            )
        return remote

    def _upload_in_steps(self, upload: Upload, fields: Mapping[str, str | int]) -> Operation[RemoteFile]:
        """Announce a file, then send its bytes to the URL that the reply names: another host never gets the key."""
        profile, name = self.profile, upload.filename
        method, place = route(profile.upload_path)
        reply = yield Call(
            what=f"begin the upload of {name}",
            method=method,
            path=place,
            deadline_seconds=self.seconds,
            params=fields if method == "GET" else {},
            json=None if method == "GET" else dict(fields),
            repeat=Repeat.UNANSWERED,
            path_fields="upload_path",
            body_fields="purpose, upload_fields, upload_style",
        )
        data = reply.json()
        remote = self._file(data)
        url = parse_upload_url(data, path=profile.file_fields.get("upload_url"))
        headers = parse_upload_headers(data, path=profile.file_fields.get("upload_headers"))
        headers |= {field: filled(value, upload.path, name=name) for field, value in profile.upload_headers.items()}
        form = parse_upload_form(data, path=profile.file_fields.get("upload_form"))
        if form:
            upload = Upload(upload.path, filename=name, fields=form)
            headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
        for redirects_left in reversed(range(_MAX_REDIRECTS + 1)):
            reply = yield Call(
                what=f"send the bytes of {name}",
                method="POST" if form else parse_upload_method(data),
                path=url,
                deadline_seconds=self.seconds * _UPLOAD_CALLS,
                upload=upload,
                headers=headers,
                accept=_SENT_ELSEWHERE if redirects_left else frozenset(),
            )
            if reply.status not in _SENT_ELSEWHERE:
                break
            url = urljoin(url, reply.headers.get("location", ""))
        if profile.upload_commit_path is None:
            return remote
        method, place = route(self._path(profile.upload_commit_path, file_id=remote.id))
        reply = yield self._call(f"end the upload of {name}", method, place, path_fields="upload_commit_path")
        file_id = parse_committed_id(reply.json(), path=profile.file_fields.get("committed_id"))
        return remote if file_id is None else msgspec.structs.replace(remote, id=file_id)

    def file_url(self, file_id: str) -> Operation[str]:
        """The download URL of a file, for an API that answers with a URL in JSON."""
        path = self.content_path(file_id)
        reply = yield self._call(f"get the URL of file {file_id}", "GET", path, path_fields="content_path")
        return parse_url(reply.json(), path=self.profile.file_fields.get("url"))

    def content_path(self, file_id: str) -> str:
        """The path of a file's content."""
        return self._path(self.profile.content_path, file_id=file_id)

    def results_path(self, batch_id: str) -> str:
        """The path of a batch's results, for an API that has one list of them."""
        return self._path(self.profile.results_path, batch_id=batch_id)

    def delete_file(self, file_id: str) -> Operation[None]:
        """Delete a file. A file that no longer exists is not an error."""
        path = self._path(self.profile.file_path, file_id=file_id)
        yield self._call(f"delete file {file_id}", "DELETE", path, accept=_GONE)

    def create_batch(
        self,
        input_file_id: str,
        metadata: Mapping[str, str] | None,
        model: str | None,
        *,
        not_after: float | None = None,
    ) -> Operation[Batch]:
        """Create a batch. Never repeated here; an unknown outcome is an AmbiguousError."""
        profile = self.profile
        sent_id = self._sent_id(input_file_id)
        fields: dict[str, Any] = {profile.input_file_field: [sent_id] if profile.input_file_as_list else sent_id}
        if profile.endpoint:
            fields["endpoint"] = profile.endpoint
        if profile.completion_window:
            fields["completion_window"] = profile.completion_window
        if profile.metadata and metadata:
            fields[profile.metadata_field] = dict(metadata)
        if profile.model_in_create and model:
            fields["model"] = model
        method, path = route(profile.create_path or profile.batches_path)
        reply = yield Call(
            what=f"create a batch from file {input_file_id}",
            method=method,
            path=path,
            deadline_seconds=min(self.seconds, CREATE_SECONDS),
            json=fields | profile.create_fields,
            repeat=Repeat.NEVER,
            not_after=not_after,
            at_stake="The batch may exist and be billed: list the batches and look for this file "
            "before you create another one",
            path_fields="batches_path, create_path",
            body_fields="input_file_field, input_file_type, endpoint, completion_window, metadata, model_in_create, "
            "create_fields",
        )
        return self._batch(reply.json())

    def _sent_id(self, file_id: str) -> str | int:
        if self.profile.input_file_type == "text":
            return file_id
        try:
            return int(file_id)
        except ValueError:
            raise ConfigError(
                f"the server's file id {file_id!r} is not a whole number, but the profile "
                f"{self.profile.name!r} has input_file_type 'integer'. No batch was created"
            ) from None

    def get_batch(self, batch_id: str) -> Operation[Batch]:
        """The current state of a batch."""
        reply = yield self._call(f"get batch {batch_id}", "GET", self._path(self.profile.batch_path, batch_id=batch_id))
        return self._batch(reply.json(), default_id=batch_id)

    def cancel_batch(self, batch_id: str) -> Operation[Batch | None]:
        """Request that a batch is cancelled. None if the reply holds no batch: it has finished, or no longer exists."""
        what = f"cancel batch {batch_id}"
        match self.profile.cancel_style:
            case "post":
                method, path = route(self._path(self.profile.cancel_path, batch_id=batch_id))
                reply = yield self._call(what, method, path, accept=_ALREADY_FINISHED, path_fields=_CANCEL_FIELDS)
            case "delete":
                path = self._path(self.profile.batch_path, batch_id=batch_id)
                reply = yield self._call(what, "DELETE", path, accept=_ALREADY_FINISHED | _GONE)
            case "none":
                raise ConfigError(f"{what}: the profile {self.profile.name!r} says that this API cannot cancel a batch")
        if reply.status in _ALREADY_FINISHED | _GONE or reply_object(reply.json()) is None:
            return None
        with contextlib.suppress(WireError):
            return self._batch(reply.json())
        return None

    def delete_batch(self, batch_id: str) -> Operation[None]:
        """Delete a batch permanently. A batch that no longer exists is not an error."""
        what = f"delete batch {batch_id}"
        if self.profile.delete_style == "none":
            raise ConfigError(f"{what}: the profile {self.profile.name!r} says that this API cannot delete a batch")
        yield self._call(what, "DELETE", self._path(self.profile.batch_path, batch_id=batch_id), accept=_GONE)

    def list_models(self) -> Operation[list[Model]]:
        """Every model that the key can use."""
        reply = yield self._call(
            "list models", "GET", self.profile.models_path, path_fields="models_path, check_models"
        )
        return list(parse_page(reply.json(), parse_model).items)

    def chat(self, body: Mapping[str, Any]) -> Operation[ResultLine]:
        """One chat completion, in real time. It costs money, so it is never repeated here."""
        reply = yield self._chat(f"chat with {body.get('model')}", dict(body))
        result = result_of_body(reply.json(), status_code=reply.status)
        if result.error is not None:
            raise WireError(result.error)
        return result

    def chat_reply(self, custom_id: str, body: msgspec.Raw) -> Operation[Reply]:
        """The same of a request line's body, byte for byte: the reply as the server wrote it, a JSON object."""
        reply = yield self._chat(f"chat {custom_id}", body)
        if not isinstance(reply.json(), dict):
            raise WireError("the reply is no JSON object")
        return reply

    def _chat(self, what: str, body: Any) -> Call:
        return Call(
            what=what,
            method="POST",
            path=self.profile.chat_path,
            deadline_seconds=self.chat_seconds,
            json=body,
            repeat=Repeat.NEVER,
            at_stake="It may have been billed",
            path_fields="chat_path",
        )

    def batches(self, page_size: int) -> Pager[Batch]:
        """The list of batches."""
        if not self.profile.can_list_batches:
            raise ConfigError(f"the profile {self.profile.name!r} says that this API cannot list batches")

        def ask(params: Parameters) -> Operation[Page[Batch]]:
            path = self.profile.batches_path
            reply = yield self._call(
                "list batches",
                "GET",
                path,
                params=params,
                path_fields="batches_path, can_list_batches",
                body_fields=_LIST_FIELDS,
            )
            return parse_page(reply.json(), self._batch)

        return Pager(self.profile, page_size, ask)

    def results(self, batch_id: str, page_size: int) -> Pager[Entry]:
        """The result lines of a batch, for an API that shows them page by page."""

        def ask(params: Parameters) -> Operation[Page[Entry]]:
            path = self.results_path(batch_id)
            reply = yield self._call(
                f"get results of batch {batch_id}",
                "GET",
                path,
                params=params,
                path_fields="results_path",
                body_fields=_LIST_FIELDS,
            )
            page = read_document(reply.body, id_path=self.profile.result_fields.get("custom_id"))
            if page is None:
                raise WireError("expected a page of results")
            return page

        return Pager(self.profile, page_size, ask)

    def files(self, page_size: int) -> Pager[RemoteFile]:
        """The list of files."""

        def ask(params: Parameters) -> Operation[Page[RemoteFile]]:
            path = self.profile.files_path
            reply = yield self._call(
                "list files", "GET", path, params=params, path_fields="files_path", body_fields=_LIST_FIELDS
            )
            return parse_page(reply.json(), self._file)

        return Pager(self.profile, page_size, ask)

    def _call(
        self,
        what: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        accept: frozenset[int] = frozenset(),
        path_fields: str = "",
        body_fields: str = "",
    ) -> Call:
        return Call(
            what=what,
            method=method,
            path=path,
            deadline_seconds=self.seconds,
            params=params or {},
            accept=accept,
            path_fields=path_fields,
            body_fields=body_fields,
        )

    def _batch(self, data: object, default_id: str | None = None) -> Batch:
        profile = self.profile
        return parse_batch(data, default_id=default_id, paths=profile.batch_fields, words=profile.status_words)

    def _file(self, data: object) -> RemoteFile:
        return parse_file(data, paths=self.profile.file_fields)

    @staticmethod
    def _path(template: str, **ids: str) -> str:
        for name, value in ids.items():
            if not value:
                raise ConfigError(f"{name} is empty")
            template = template.replace(f"{{{name}}}", quote(value, safe=""))
        return template
