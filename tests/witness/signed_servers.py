"""Invented servers whose files go by signed URLs: a POST names a URL for a PUT, and results lie at another host."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import zipfile
from http import HTTPStatus
from typing import Any, ClassVar

from tests.witness.invented_server import KEY, Batch, Call, File, Handler, InventedServer, RefusedError, Reply

Fields = dict[str, Any]


class Tern(InventedServer):
    """camelCase; `fileName` at the begin; a URL at the top of the reply; downloads by a URL in JSON."""

    words: ClassVar[dict[str, str]] = {
        "waiting": "accepted",
        "running": "inferring",
        "ended": "ready_for_pickup",
        "stopping": "winding_down",
        "stopped": "withdrawn",
    }
    files_at = "/files"
    tasks_at = "/batches"
    input_field = "inputFileId"
    tags_field = "metadata"
    hand: ClassVar[Fields] = {
        "upload_path": "/files",
        "upload_style": "presigned",
        "upload_fields": {"fileName": "{filename}"},
        "purpose": None,
        "content_path": "/files/{file_id}/download",
        "result_style": "url",
        "input_file_field": "inputFileId",
        "endpoint": None,
        "completion_window": None,
        "status_words": {"ready_for_pickup": "completed", "withdrawn": "cancelled"},
        "file_fields": {"url": "downloadLink"},
        "batch_fields": {"output_file_id": "answersFileId", "error_file_id": "failuresFileId"},
    }

    def routes(self) -> dict[tuple[str, str], Handler]:
        one_file, one_task = f"{self.files_at}/(?P<id>[^/]+)", f"{self.tasks_at}/(?P<id>[^/]+)"
        return {
            ("POST", self.files_at): self.begin,
            ("GET", self.files_at): lambda _: Reply(200, {"files": [*map(self.shown_file, self.files.values())]}),
            ("GET", one_file): lambda call: Reply(200, self.shown_file(self.file(call.found["id"]))),
            ("DELETE", one_file): self.delete_file,
            ("GET", f"{one_file}/download"): self.download,
            ("POST", self.tasks_at): self.create_task,
            ("GET", self.tasks_at): self.list_tasks,
            ("GET", one_task): lambda call: Reply(200, self.shown_task(self.looked_at(call.found["id"]))),
            ("POST", f"{one_task}/cancel"): lambda call: Reply(202, self.shown_task(self.cancel(call.found["id"]))),
            ("DELETE", one_task): self.delete_task,
        }

    def refusal(self, status: int, words: str) -> Reply:
        return Reply(status, {"error": {"message": words, "code": f"E{status}"}})

    def begin(self, call: Call) -> Reply:
        if set(call.json) != {"fileName"}:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"expected 'fileName', got {', '.join(sorted(call.json))}")
        file = self.store(call.json["fileName"], None)
        return Reply(201, {**self.shown_file(file), "uploadUrl": self.put_url(file)})

    def put_url(self, file: File) -> str:
        return f"{self.store_url}/put/{file.id}?X-Signature=a%2Fb%3D"

    def get_url(self, file: File) -> str:
        return f"{self.store_url}/get/{file.id}?X-Signature=c%2Bd"

    def download(self, call: Call) -> Reply:
        return Reply(200, {"downloadLink": self.get_url(self.file(call.found["id"])), "ttl": 600})

    def delete_file(self, call: Call) -> Reply:
        del self.files[self.file(call.found["id"]).id]
        return Reply(204, b"")

    def delete_task(self, call: Call) -> Reply:
        if self.batch(call.found["id"]).phase not in {"ended", "stopped"}:
            raise RefusedError(HTTPStatus.CONFLICT, "it has not ended")
        del self.batches[call.found["id"]]
        return Reply(204, b"")

    def create_task(self, call: Call) -> Reply:
        unknown = call.json.keys() - {self.input_field, self.tags_field}
        if unknown:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"'{min(unknown)}' is not a field; '{self.input_field}' is")
        if self.input_field not in call.json:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"'{self.input_field}' is required")
        return Reply(202, self.shown_task(self.create(call.json[self.input_field], call.json.get(self.tags_field))))

    def list_tasks(self, call: Call) -> Reply:
        entries = [self.shown_task(batch) for batch in reversed(self.batches.values())]
        ids = [batch.id for batch in reversed(self.batches.values())]
        start = ids.index(call.query["after"]) + 1 if call.query.get("after") in ids else 0
        end = start + int(call.query.get("limit", 20))
        return Reply(200, {"items": entries[start:end], "hasMore": end < len(entries)})

    def shown_file(self, file: File) -> Fields:
        size = 0 if file.content is None else len(file.content)
        return {"fileId": file.id, "fileName": file.name, "sizeBytes": size, "state": self.file_state(file)}

    def file_state(self, file: File) -> str:
        return "AWAITING_CONTENT" if file.content is None else "STORED"

    def shown_task(self, batch: Batch) -> Fields:
        is_over = batch.phase == "ended"
        return {
            "batchId": batch.id,
            "status": self.words[batch.phase],
            "inputFileId": batch.file_id,
            "answersFileId": batch.output.id if is_over else None,
            "failuresFileId": batch.errors.id if is_over and batch.errors else None,
            "createdAt": int(batch.made_at),
            "metadata": batch.tags,
        }

    def result_line(self, custom_id: str, status: int, body: Fields) -> Fields:
        response = {"status_code": status, "request_id": f"r-{custom_id[:8]}", "body": body}
        return {"custom_id": custom_id, "response": response, "error": None}


class Gull(Tern):
    """The size is wanted at the begin, the signature covers headers that the reply names, and a commit is due."""

    files_at = "/datasets"
    input_field = "dataset"
    signed_headers: ClassVar[dict[str, str]] = {"Content-Type": "application/x-ndjson", "x-ms-blob-type": "BlockBlob"}
    hand: ClassVar[Fields] = {
        "upload_path": "/datasets",
        "files_path": "/datasets",
        "file_path": "/datasets/{file_id}",
        "upload_style": "presigned",
        "upload_commit_path": "/datasets/{file_id}/complete",
        "upload_fields": {"name": "{filename}", "size": "{bytes}"},
        "purpose": None,
        "input_file_field": "dataset",
        "input_file_type": "integer",
        "endpoint": None,
        "completion_window": None,
        "status_words": {"ready_for_pickup": "completed", "withdrawn": "cancelled"},
        "batch_fields": {
            "input_file_id": "dataset",
            "output_file_id": "results.answers",
            "error_file_id": "results.failures",
        },
    }

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[str, int] = {}
        self.committed: set[str] = set()

    def new_id(self, kind: str) -> str:
        return str(next(self.numbers))

    def routes(self) -> dict[tuple[str, str], Handler]:
        routes = super().routes() | {("POST", "/datasets/(?P<id>[^/]+)/complete"): self.commit}
        del routes["GET", "/datasets/(?P<id>[^/]+)/download"]
        return routes

    def begin(self, call: Call) -> Reply:
        for field, kind in (("name", str), ("size", int)):
            if not isinstance(call.json.get(field), kind):
                raise RefusedError(422, f"body.{field}: a {kind.__name__} is required")
        file = self.store(call.json["name"], None)
        self.sizes[file.id] = call.json["size"]
        upload = {"url": self.put_url(file), "method": "PUT", "headers": dict(self.signed_headers)}
        return Reply(201, {"dataset": self.shown_file(file), "upload": upload})

    def signed_put(self, call: Call) -> Reply:
        sent = {name: call.headers.get(name.lower()) for name in self.signed_headers}
        if sent != self.signed_headers or len(call.body) != self.sizes.get(call.found["id"]):
            return Reply(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>", {"content-type": "application/xml"})
        return super().signed_put(call)

    def signed_get(self, call: Call) -> Reply:
        reply = super().signed_get(call)
        return reply._replace(body=gzip.compress(reply.body), headers={"content-type": "application/gzip"})

    def commit(self, call: Call) -> Reply:
        self.committed.add(self.file(call.found["id"]).id)
        return Reply(200, {"dataset": self.shown_file(self.file(call.found["id"]))})

    def create_task(self, call: Call) -> Reply:
        unknown = call.json.keys() - {"dataset", "metadata"}
        if unknown:
            raise RefusedError(422, f"body.{min(unknown)}: extra field; 'dataset' is what names the input")
        dataset = call.json.get("dataset")
        if not isinstance(dataset, int):
            raise RefusedError(422, "body.dataset: Input should be a valid integer, 'dataset'")
        if str(dataset) not in self.committed:
            raise RefusedError(HTTPStatus.CONFLICT, "the upload of this dataset is not complete")
        return Reply(202, self.shown_task(self.create(str(dataset), call.json.get("metadata"))))

    def shown_file(self, file: File) -> Fields:
        return {"id": int(file.id), "name": file.name, "size": len(file.content or b"")}

    def shown_task(self, batch: Batch) -> Fields:
        task = {
            "id": batch.id,
            "state": self.words[batch.phase],
            "dataset": int(batch.file_id),
            "created": batch.made_at,
            "metadata": batch.tags,
        }
        if batch.phase != "ended":
            return task
        failures = self.get_url(batch.errors) if batch.errors else None
        return {**task, "results": {"answers": self.get_url(batch.output), "failures": failures}}


class Skua(Tern):
    """The id of a file is its key in the store, with slashes; a content is a redirect to the store."""

    described = ("upload_path", "files_path", "file_path", "content_path")
    files_at = "/objects"
    input_field = "key"
    hand: ClassVar[Fields] = {
        "upload_path": "/objects/presign",
        "files_path": "/objects",
        "file_path": "/objects/{file_id}",
        "content_path": "/objects/{file_id}/download",
        "upload_style": "presigned",
        "upload_fields": {"filename": "{filename}"},
        "purpose": "batch",
        "file_fields": {"id": "key", "upload_url": "put"},
        "input_file_field": "key",
        "endpoint": None,
        "completion_window": None,
        "metadata": False,
        "status_words": {"ready_for_pickup": "completed", "withdrawn": "cancelled"},
        "batch_fields": {"input_file_id": "key", "output_file_id": "out.key", "error_file_id": "err.key"},
    }

    def new_id(self, kind: str) -> str:
        number = super().new_id(kind)
        return f"in/2026-11/{number} ü.jsonl" if kind == "f" else number

    def routes(self) -> dict[tuple[str, str], Handler]:
        routes = super().routes()
        del routes["POST", self.files_at]
        return routes | {("POST", f"{self.files_at}/presign"): self.begin}

    def begin(self, call: Call) -> Reply:
        if call.json.get("purpose") != "batch" or "filename" not in call.json:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "filename and purpose (batch) are required")
        file = self.store(call.json["filename"], None)
        return Reply(200, {"key": file.id, "put": self.put_url(file)})

    def put_url(self, file: File) -> str:
        return super().put_url(file).replace(" ", "%20").replace("ü", "%C3%BC")

    def get_url(self, file: File) -> str:
        return super().get_url(file).replace(" ", "%20").replace("ü", "%C3%BC")

    def download(self, call: Call) -> Reply:
        return Reply(302, b"", {"location": self.get_url(self.file(call.found["id"]))})

    def shown_file(self, file: File) -> Fields:
        return {"key": file.id, "filename": file.name, "bytes": len(file.content or b"")}

    def shown_task(self, batch: Batch) -> Fields:
        is_over = batch.phase == "ended"
        return {
            "id": batch.id,
            "status": self.words[batch.phase],
            "key": batch.file_id,
            "out": {"key": batch.output.id} if is_over else None,
            "err": {"key": batch.errors.id} if is_over and batch.errors else None,
            "created_at": int(batch.made_at),
        }


class Petrel(Tern):
    """Wrapped in code and data as well; the results of a batch are URLs by one more call."""

    prefix = "/gw/v1"
    tasks_at = "/jobs"
    input_field = "fileId"
    hand: ClassVar[Fields] = {
        "upload_style": "presigned",
        "upload_fields": {"fileName": "{filename}", "fileSize": "{bytes}"},
        "upload_commit_path": "/files/{file_id}/confirm",
        "purpose": None,
        "batches_path": "/jobs",
        "batch_path": "/jobs/{batch_id}",
        "cancel_path": "/jobs/{batch_id}/cancel",
        "results_path": "/jobs/{batch_id}/results",
        "result_style": "results",
        "input_file_field": "fileId",
        "endpoint": None,
        "completion_window": None,
        "status_words": {"ready_for_pickup": "completed", "withdrawn": "cancelled"},
        "file_fields": {"upload_url": "data.signed.put", "url": "data.links.0.href"},
        "batch_fields": {"input_file_id": "fileId"},
    }

    def routes(self) -> dict[tuple[str, str], Handler]:
        def wrapped(handler: Handler) -> Handler:
            return lambda call: self.wrapped(handler(call))

        more = {
            ("POST", f"{self.files_at}/(?P<id>[^/]+)/confirm"): lambda _: Reply(200, None),
            ("GET", f"{self.tasks_at}/(?P<id>[^/]+)/results"): self.results,
        }
        return {route: wrapped(handler) for route, handler in (super().routes() | more).items()}

    def wrapped(self, reply: Reply) -> Reply:
        return Reply(200, {"code": 200, "msg": "OK", "data": reply.body if reply.body != b"" else None})

    def refusal(self, status: int, words: str) -> Reply:
        return Reply(200, {"code": status, "msg": words, "data": None})

    def begin(self, call: Call) -> Reply:
        if not isinstance(call.json.get("fileSize"), int) or "fileName" not in call.json:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "fileName and fileSize are required")
        file = self.store(call.json["fileName"], None)
        return Reply(200, {"fileId": file.id, "signed": {"put": self.put_url(file), "seconds": 300}})

    def results(self, call: Call) -> Reply:
        batch = self.batch(call.found["id"])
        if batch.phase != "ended":
            raise RefusedError(HTTPStatus.NOT_FOUND, "no results yet")
        if batch.errors is not None:
            batch.output.content = (batch.output.content or b"") + (batch.errors.content or b"")
            batch.errors = None
        return Reply(200, {"links": [{"href": self.get_url(batch.output)}]})

    def shown_task(self, batch: Batch) -> Fields:
        return {
            "jobId": batch.id,
            "jobStatus": self.words[batch.phase],
            "fileId": batch.file_id,
            "createdAt": int(batch.made_at * 1000),
            "metadata": batch.tags,
        }


class Auk(Tern):
    """An upload has an id of its own; the file's comes with the end of it. The bytes are measured and named."""

    hand: ClassVar[Fields] = {
        "upload_path": "/uploads",
        "upload_style": "presigned",
        "upload_fields": {"filename": "{filename}", "bytes": "{bytes}", "mime_type": "application/jsonl"},
        "upload_commit_path": "/uploads/{file_id}/complete",
        "purpose": "batch",
        "content_path": "/files/{file_id}/download",
        "result_style": "url",
        "input_file_field": "inputFileId",
        "endpoint": None,
        "completion_window": None,
        "status_words": {"ready_for_pickup": "completed", "withdrawn": "cancelled"},
        "file_fields": {"url": "downloadLink"},
        "batch_fields": {"output_file_id": "answersFileId", "error_file_id": "failuresFileId"},
    }

    def __init__(self) -> None:
        super().__init__()
        self.uploads: dict[str, str] = {}

    def routes(self) -> dict[tuple[str, str], Handler]:
        routes = super().routes()
        del routes["POST", self.files_at]
        return routes | {
            ("POST", "/uploads"): self.begin,
            ("POST", "/uploads/(?P<id>[^/]+)/complete"): self.complete,
        }

    def begin(self, call: Call) -> Reply:
        for field, kind in (("filename", str), ("bytes", int), ("mime_type", str), ("purpose", str)):
            if not isinstance(call.json.get(field), kind):
                raise RefusedError(HTTPStatus.BAD_REQUEST, f"'{field}' is required")
        file = self.store(call.json["filename"], None)
        upload_id = self.new_id("up")
        self.uploads[upload_id] = file.id
        return Reply(200, {"id": upload_id, "object": "upload", "status": "pending", "url": self.put_url(file)})

    def complete(self, call: Call) -> Reply:
        file = self.file(self.uploads[call.found["id"]])
        shown = {"id": file.id, "object": "file", "filename": file.name, "bytes": len(file.content or b"")}
        return Reply(200, {"id": call.found["id"], "object": "upload", "status": "completed", "file": shown})


class Knot(Tern):
    """The bytes go by a form with signed fields, as S3's POST policies have it."""

    def begin(self, call: Call) -> Reply:
        reply = super().begin(call)
        fields = {"key": reply.body["fileId"], "policy": "e30=", "x-amz-signature": "s/g="}
        del reply.body["uploadUrl"]
        return Reply(201, {**reply.body, "upload": {"url": f"{self.store_url}/post", "fields": fields}})


class Snipe(Gull):
    """A key without a scheme, checksums at the begin and in the PUT, its headers as a list, and a PATCH at the end."""

    key_header = ("x-api-key", KEY)
    hand: ClassVar[Fields] = {
        **Gull.hand,
        "key_header": "X-Api-Key: {key}",
        "upload_fields": {"name": "{filename}", "size": "{bytes}", "sha256": "{sha256}"},
        "upload_commit_path": "PATCH /datasets/{file_id}/complete",
        "upload_headers": {"Content-MD5": "{content_md5}"},
    }
    described = ("upload_headers",)

    def __init__(self) -> None:
        super().__init__()
        self.sums: dict[str, str] = {}

    def routes(self) -> dict[tuple[str, str], Handler]:
        routes = super().routes()
        end = "/datasets/(?P<id>[^/]+)/complete"
        return {
            ("POST", end): lambda _: Reply(405, {"error": {"message": "PATCH only"}}),
            ("PUT", end): lambda _: Reply(405, {"error": {"message": "PATCH only"}}),
            ("PATCH", end): routes.pop(("POST", end)),
            **routes,
        }

    def begin(self, call: Call) -> Reply:
        if "sha256" not in call.json:
            raise RefusedError(422, "body.sha256: a str is required")
        reply = super().begin(call)
        self.sums[str(reply.body["dataset"]["id"])] = call.json["sha256"]
        signed = [{"name": name, "value": value} for name, value in self.signed_headers.items()]
        reply.body["upload"]["headers"] = signed
        return reply

    def signed_put(self, call: Call) -> Reply:
        sums = (hashlib.sha256(call.body).hexdigest(), base64.b64encode(hashlib.md5(call.body).digest()).decode())
        if sums != (self.sums.get(call.found["id"]), call.headers.get("content-md5")):
            return Reply(400, b"<Error><Code>BadDigest</Code></Error>", {"content-type": "application/xml"})
        return super().signed_put(call)


class Dunlin(Tern):
    """An upload begins with a GET, whose query names the file; results are ZIP archives of one JSON array."""

    described = ("upload_path",)
    hand: ClassVar[Fields] = {**Tern.hand, "upload_path": "GET /files/upload-url"}

    def routes(self) -> dict[tuple[str, str], Handler]:
        routes = super().routes()
        del routes["POST", self.files_at]
        return {("GET", f"{self.files_at}/upload-url"): self.begin, **routes}

    def begin(self, call: Call) -> Reply:
        return super().begin(call._replace(body=json.dumps(call.query).encode()))

    def signed_get(self, call: Call) -> Reply:
        reply, packed = super().signed_get(call), io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("out/results.json", json.dumps([json.loads(line) for line in reply.body.splitlines()]))
        return reply._replace(body=packed.getvalue(), headers={"content-type": "application/zip"})


SIGNED = (Tern, Gull, Skua, Petrel, Auk, Knot, Snipe, Dunlin)
