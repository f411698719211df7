"""Invented servers behind a gateway like Kong: every reply in a wrapper of code, message and data. Each with quirks."""

from __future__ import annotations

import gzip
import json
from http import HTTPStatus
from typing import Any, ClassVar

from tests.witness.invented_server import (
    KEY,
    Batch,
    Call,
    File,
    Handler,
    InventedServer,
    RefusedError,
    Reply,
    local_time,
)

Fields = dict[str, Any]


class Heron(InventedServer):
    """camelCase, errors as long codes in HTTP 200, local times, lists of records by page and pageSize."""

    prefix = "/maas/api/v2"
    words: ClassVar[dict[str, Any]] = {
        "waiting": "QUEUING_UP",
        "running": "ANSWERING",
        "ended": "SETTLED",
        "stopping": "HALTING",
        "stopped": "HALTED",
    }
    files_at = "/files"
    tasks_at = "/batch-tasks"
    input_field = "inputFileId"
    hand: ClassVar[Fields] = {
        "batches_path": "/batch-tasks",
        "batch_path": "/batch-tasks/{batch_id}",
        "cancel_path": "/batch-tasks/{batch_id}/cancel",
        "input_file_field": "inputFileId",
        "endpoint": None,
        "completion_window": None,
        "list_style": "page",
        "size_parameter": "pageSize",
        "status_words": {"SETTLED": "completed", "HALTED": "cancelled"},
        "batch_fields": {"id": "taskId", "status": "taskStatus", "error_file_id": "failFileId"},
    }

    def routes(self) -> dict[tuple[str, str], Handler]:
        one_file, one_task = f"{self.files_at}/(?P<id>[^/]+)", f"{self.tasks_at}/(?P<id>[^/]+)"
        return {
            ("POST", self.files_at): self.upload,
            ("GET", self.files_at): self.list_files,
            ("GET", one_file): lambda call: self.fine(self.shown_file(self.file(call.found["id"]))),
            ("DELETE", one_file): self.delete_file,
            ("GET", f"{one_file}/content"): self.content,
            ("POST", self.tasks_at): self.create_task,
            ("GET", self.tasks_at): self.list_tasks,
            ("GET", one_task): lambda call: self.fine(self.shown_task(self.looked_at(call.found["id"]))),
            ("POST", f"{one_task}/cancel"): lambda call: self.fine(self.shown_task(self.cancel(call.found["id"]))),
            ("DELETE", one_task): self.delete_task,
        }

    def fine(self, data: Any) -> Reply:
        return Reply(200, {"code": 0, "message": "success", "data": data})

    def refusal(self, status: int, words: str) -> Reply:
        if status == HTTPStatus.UNAUTHORIZED:
            # The gateway's own.
            return Reply(401, {"message": "Unauthorized", "request_id": "ab12"})
        return Reply(200, {"code": status * 100 + 7, "message": words, "data": None})

    def upload(self, call: Call) -> Reply:
        form = call.form
        if "file" not in form:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "file: required")
        name, content = form["file"]
        return self.fine(self.shown_file(self.store(name or "unnamed", content)))

    def delete_file(self, call: Call) -> Reply:
        del self.files[self.file(call.found["id"]).id]
        return self.fine(None)

    def content(self, call: Call) -> Reply:
        return Reply(200, self.file(call.found["id"]).content, {"content-type": "application/octet-stream"})

    def create_task(self, call: Call) -> Reply:
        unknown = call.json.keys() - {self.input_field, "metadata"}
        if unknown:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"unknown parameter: {min(unknown)}")
        if self.input_field not in call.json:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"{self.input_field}: required")
        return self.fine(self.shown_task(self.create(call.json[self.input_field], call.json.get("metadata"))))

    def delete_task(self, call: Call) -> Reply:
        batch = self.batch(call.found["id"])
        if batch.phase not in {"ended", "stopped"}:
            raise RefusedError(HTTPStatus.CONFLICT, "the task has not ended")
        del self.batches[batch.id]
        return self.fine(None)

    def list_files(self, call: Call) -> Reply:
        return self.fine(self.page([self.shown_file(file) for file in self.files.values()], call.query))

    def list_tasks(self, call: Call) -> Reply:
        return self.fine(self.page([self.shown_task(batch) for batch in reversed(self.batches.values())], call.query))

    def page(self, entries: list[Fields], query: dict[str, str]) -> Any:
        number, size = int(query.get("page", 1)), int(query.get("pageSize", 10))
        shown = entries[(number - 1) * size : number * size]
        return {"records": shown, "page": number, "pageSize": size, "total": len(entries)}

    def shown_file(self, file: File) -> Fields:
        content = file.content or b""
        return {
            "fileId": file.id,
            "fileName": file.name,
            "fileSize": len(content),
            "createTime": local_time(file.made_at),
        }

    def shown_task(self, batch: Batch) -> Fields:
        is_over = batch.phase == "ended"
        return {
            "taskId": batch.id,
            "taskStatus": self.words[batch.phase],
            "inputFileId": batch.file_id,
            "outputFileId": batch.output.id if is_over else None,
            "failFileId": batch.errors.id if is_over and batch.errors else "",
            "total": len(batch.lines),
            "createTime": local_time(batch.made_at),
            "metadata": batch.tags,
        }

    def result_line(self, custom_id: str, status: int, body: Fields) -> Fields:
        code = 0 if status == HTTPStatus.OK else status * 100
        wrapped = {"code": code, "message": body.get("message", "success"), "data": None if code else body}
        return {"customId": custom_id, "response": {"statusCode": status, "body": wrapped}}


class Egret(Heron):
    """Ids and states are numbers, the good code is "0000", the wrapper is `payload`, and lists are in `rows`."""

    prefix = "/openapi/v1"
    words: ClassVar[dict[str, Any]] = {"waiting": 0, "running": 1, "ended": 3, "stopping": 7, "stopped": 8}
    tasks_at = "/jobs"
    input_field = "fileId"
    hand: ClassVar[Fields] = {
        "batches_path": "/jobs",
        "batch_path": "/jobs/{batch_id}",
        "cancel_path": "/jobs/{batch_id}/cancel",
        "input_file_field": "fileId",
        "input_file_type": "integer",
        "endpoint": None,
        "completion_window": None,
        "list_style": "page",
        "page_parameter": "pageNum",
        "size_parameter": "pageSize",
        "status_words": {"3": "completed", "8": "cancelled"},
        "batch_fields": {
            "input_file_id": "fileId",
            "output_file_id": "answers.fileId",
            "error_file_id": "failures.fileId",
        },
        "result_fields": {"custom_id": "ref", "body": "data", "error": "msg"},
    }

    def new_id(self, kind: str) -> str:
        return str(next(self.numbers))

    def fine(self, data: Any) -> Reply:
        return Reply(200, {"retCode": "0000", "retMsg": "OK", "payload": data})

    def refusal(self, status: int, words: str) -> Reply:
        return Reply(200, {"retCode": f"B{status}", "retMsg": words, "payload": None})

    def create_task(self, call: Call) -> Reply:
        unknown = call.json.keys() - {self.input_field, "metadata"}
        if unknown:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"unknown field '{min(unknown)}'")
        file_id = call.json.get(self.input_field)
        if not isinstance(file_id, int):
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"'{self.input_field}' has to be a number")
        return self.fine(self.shown_task(self.create(str(file_id), call.json.get("metadata"))))

    def page(self, entries: list[Fields], query: dict[str, str]) -> Any:
        number, size = int(query.get("pageNum", 1)), int(query.get("pageSize", 10))
        shown = entries[(number - 1) * size : number * size]
        return {"rows": shown, "pageNum": number, "totalPages": -(-len(entries) // size)}

    def shown_file(self, file: File) -> Fields:
        return {"fileId": int(file.id), "fileName": file.name, "size": len(file.content or b"")}

    def shown_task(self, batch: Batch) -> Fields:
        is_over = batch.phase == "ended"
        return {
            "jobId": int(batch.id),
            "status": self.words[batch.phase],
            "fileId": int(batch.file_id),
            "answers": {"fileId": int(batch.output.id)} if is_over else None,
            "failures": {"fileId": int(batch.errors.id)} if is_over and batch.errors else None,
            "createdAt": int(batch.made_at * 1000),
            "metadata": batch.tags,
        }

    def result_line(self, custom_id: str, status: int, body: Fields) -> Fields:
        if status != HTTPStatus.OK:
            return {"ref": custom_id, "code": status, "msg": body["message"], "data": None}
        return {"ref": custom_id, "code": 0, "msg": "", "data": body}


class Stork(Heron):
    """Files are URLs, results lie at another host, no metadata, words of its own language, and pages from 0."""

    prefix = "/api/v1"
    words: ClassVar[dict[str, Any]] = {
        "waiting": "CHỜ XỬ LÝ",
        "running": "ĐANG XỬ LÝ",
        "ended": "HOÀN TẤT",
        "stopping": "ĐANG HUỶ",
        "stopped": "ĐÃ HUỶ",
    }
    input_field = "fileUrl"
    hand: ClassVar[Fields] = {
        "batches_path": "/batch-tasks",
        "batch_path": "/batch-tasks/{batch_id}",
        "cancel_path": "/batch-tasks/{batch_id}/cancel",
        "input_file_field": "fileUrl",
        "endpoint": None,
        "completion_window": None,
        "metadata": False,
        "list_style": "page",
        "size_parameter": "size",
        "first_page": 0,
        "status_words": {"HOÀN TẤT": "completed", "ĐÃ HUỶ": "cancelled"},
        "batch_fields": {"input_file_id": "fileUrl", "output_file_id": "resultUrl", "error_file_id": "failureUrl"},
        "file_fields": {"id": "fileUrl"},
    }

    def new_id(self, kind: str) -> str:
        return f"oss://acme-batch/{kind}{next(self.numbers)}.jsonl" if kind == "f" else super().new_id(kind)

    def fine(self, data: Any) -> Reply:
        return Reply(201, {"success": True, "status": 200, "msg": "thành công", "result": data})

    def refusal(self, status: int, words: str) -> Reply:
        return Reply(200, {"success": False, "status": status, "msg": words, "result": None})

    def create_task(self, call: Call) -> Reply:
        if call.json.keys() != {"fileUrl"}:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "expected exactly one field: `fileUrl`")
        return self.fine(self.shown_task(self.create(call.json["fileUrl"], None)))

    def page(self, entries: list[Fields], query: dict[str, str]) -> Any:
        number, size = int(query.get("page", 0)), int(query.get("size", 10))
        shown = entries[number * size : (number + 1) * size]
        return {"content": shown, "totalElements": len(entries), "last": (number + 1) * size >= len(entries)}

    def shown_file(self, file: File) -> Fields:
        return {"fileUrl": file.id, "fileName": file.name, "length": len(file.content or b"")}

    def shown_task(self, batch: Batch) -> Fields:
        is_over = batch.phase == "ended"
        return {
            "taskId": batch.id,
            "state": self.words[batch.phase],
            "fileUrl": batch.file_id,
            "resultUrl": f"{self.store_url}/get/{batch.output.id}?sig=x%2Fy" if is_over else None,
            "failureUrl": f"{self.store_url}/get/{batch.errors.id}?sig=z" if is_over and batch.errors else None,
        }


class Crane(Heron):
    """Two wrappers, no version, a list without pages, DELETE cancels, packed results, places in a list."""

    prefix = "/maas/inference"
    described = ("base_url_version",)
    words: ClassVar[dict[str, Any]] = {
        "waiting": "ACK",
        "running": "BUSY",
        "ended": "OUT",
        "stopping": "BUSY",
        "stopped": "VOID",
    }
    tasks_at = "/batches"
    input_field = "input_file"
    hand: ClassVar[Fields] = {
        "base_url_version": False,
        "input_file_field": "input_file",
        "completion_window": None,
        "endpoint": None,
        "metadata_field": "labels",
        "list_style": "none",
        "cancel_style": "delete",
        "delete_style": "none",
        "status_words": {"OUT": "completed", "VOID": "cancelled"},
        "batch_fields": {"output_file_id": "outputs.0.key", "error_file_id": "outputs.1.key", "metadata": "labels"},
    }

    def routes(self) -> dict[tuple[str, str], Handler]:
        routes = super().routes()
        del routes["POST", f"{self.tasks_at}/(?P<id>[^/]+)/cancel"]
        return routes | {("DELETE", f"{self.tasks_at}/(?P<id>[^/]+)"): self.stop}

    def stop(self, call: Call) -> Reply:
        return self.fine({"task": self.shown_task(self.cancel(call.found["id"]))})

    def fine(self, data: Any) -> Reply:
        known = data if isinstance(data, dict) and data.keys() & {"task", "tasks", "files"} else {"task": data}
        return Reply(200, {"code": "BATCH-0", "message": "ok", "data": known})

    def refusal(self, status: int, words: str) -> Reply:
        return Reply(status, {"code": f"BATCH-{status}", "message": words, "data": {}})

    def create_task(self, call: Call) -> Reply:
        if call.json.keys() - {"input_file", "labels"}:
            extra = ", ".join(sorted(call.json.keys() - {"input_file", "labels"}))
            raise RefusedError(422, f"extra fields not permitted: {extra}")
        return self.fine(self.shown_task(self.create(call.json["input_file"], call.json.get("labels"))))

    def list_files(self, call: Call) -> Reply:
        return self.fine({"files": [self.shown_file(file) for file in self.files.values()]})

    def list_tasks(self, call: Call) -> Reply:
        return self.fine({"tasks": [self.shown_task(batch) for batch in self.batches.values()]})

    def content(self, call: Call) -> Reply:
        packed = gzip.compress(self.file(call.found["id"]).content or b"")
        return Reply(200, packed, {"content-type": "application/gzip"})

    def shown_task(self, batch: Batch) -> Fields:
        kept = [batch.output] + ([batch.errors] if batch.errors else [])
        return {
            "id": batch.id,
            "state": self.words[batch.phase],
            "input_file": batch.file_id,
            "outputs": [{"key": file.id, "name": file.name} for file in kept] if batch.phase == "ended" else [],
            "created_at": int(batch.made_at),
            "labels": batch.tags,
        }


class Ibis(Heron):
    """Named calls: each has a path of its own, and ids stand in the query."""

    described = (
        "upload_path",
        "files_path",
        "file_path",
        "content_path",
        "create_path",
        "batches_path",
        "batch_path",
        "cancel_path",
    )
    hand: ClassVar[Fields] = {
        "upload_path": "/file/upload",
        "files_path": "/file/list",
        "file_path": "/file/detail?fileId={file_id}",
        "content_path": "/file/download?fileId={file_id}",
        "create_path": "/batch/submit",
        "batches_path": "/batch/list",
        "batch_path": "/batch/detail?taskId={batch_id}",
        "cancel_path": "/batch/stop?taskId={batch_id}",
        "input_file_field": "inputFileId",
        "endpoint": None,
        "completion_window": None,
        "list_style": "page",
        "size_parameter": "pageSize",
        "delete_style": "none",
        "status_words": {"SETTLED": "completed", "HALTED": "cancelled"},
        "batch_fields": {"status": "taskStatus", "error_file_id": "failFileId"},
    }

    def routes(self) -> dict[tuple[str, str], Handler]:
        def by_query(name: str, handler: Handler) -> Handler:
            return lambda call: handler(call._replace(found={"id": call.query.get(name, "")}))

        return {
            ("POST", "/file/upload"): self.upload,
            ("GET", "/file/list"): self.list_files,
            ("GET", "/file/detail"): by_query("fileId", lambda c: self.fine(self.shown_file(self.file(c.found["id"])))),
            ("DELETE", "/file/detail"): by_query("fileId", self.delete_file),
            ("GET", "/file/download"): by_query("fileId", self.content),
            ("POST", "/batch/submit"): self.create_task,
            ("GET", "/batch/list"): self.list_tasks,
            ("GET", "/batch/detail"): by_query(
                "taskId", lambda call: self.fine(self.shown_task(self.looked_at(call.found["id"])))
            ),
            ("POST", "/batch/stop"): by_query(
                "taskId", lambda call: self.fine(self.shown_task(self.cancel(call.found["id"])))
            ),
        }


class Rail(Heron):
    """No result files in a batch: their URLs, at another host, are told by one more call, in the wrapper."""

    tasks_at = "/jobs"
    hand: ClassVar[Fields] = {
        **Heron.hand,
        "batches_path": "/jobs",
        "batch_path": "/jobs/{batch_id}",
        "cancel_path": "/jobs/{batch_id}/cancel",
        "results_path": "/jobs/{batch_id}/results",
        "result_style": "results",
        "batch_fields": {},
        "file_fields": {"url": "data.answersAt"},
    }

    def routes(self) -> dict[tuple[str, str], Handler]:
        return super().routes() | {("GET", f"{self.tasks_at}/(?P<id>[^/]+)/results"): self.results}

    def shown_task(self, batch: Batch) -> Fields:
        return {
            "jobId": batch.id,
            "status": self.words[batch.phase],
            "inputFileId": batch.file_id,
            "created": batch.made_at,
            "metadata": batch.tags,
        }

    def results(self, call: Call) -> Reply:
        batch = self.batch(call.found["id"])
        if batch.phase != "ended":
            raise RefusedError(HTTPStatus.CONFLICT, "the job has not ended")
        if batch.errors is not None:
            batch.output.content = (batch.output.content or b"") + (batch.errors.content or b"")
            batch.errors = None
        return self.fine({"answersAt": f"{self.store_url}/get/{batch.output.id}", "expiresIn": 900})


class Curlew(Heron):
    """The key stands in Kong's own header, a PUT cancels, and calls that make something answer with its id alone."""

    key_header = ("apikey", KEY)
    hand: ClassVar[Fields] = {
        **Heron.hand,
        "key_header": "apikey: {key}",
        "cancel_path": "PUT /batch-tasks/{batch_id}/cancel",
        "file_fields": {"id": "data"},
        "batch_fields": {"id": "data", "error_file_id": "failFileId"},
    }

    def routes(self) -> dict[tuple[str, str], Handler]:
        routes = super().routes()
        one_task = f"{self.tasks_at}/(?P<id>[^/]+)"
        return routes | {("PUT", f"{one_task}/cancel"): routes.pop(("POST", f"{one_task}/cancel"))}

    def refusal(self, status: int, words: str) -> Reply:
        if status == HTTPStatus.UNAUTHORIZED:
            return Reply(401, {"message": "No API key found in request", "request_id": "ab12"})
        return super().refusal(status, words)

    def upload(self, call: Call) -> Reply:
        return self.fine(super().upload(call).body["data"]["fileId"])

    def create_task(self, call: Call) -> Reply:
        return self.fine(super().create_task(call).body["data"]["taskId"])


class Grebe(Rail):
    """Results are a list in the wrapper, three a page, with no word of how many there are."""

    hand: ClassVar[Fields] = {**Rail.hand, "file_fields": {}}

    def results(self, call: Call) -> Reply:
        batch = self.batch(call.found["id"])
        if batch.phase != "ended":
            raise RefusedError(HTTPStatus.CONFLICT, "the job has not ended")
        files = [batch.output] + ([batch.errors] if batch.errors else [])
        lines = [json.loads(line) for file in files for line in (file.content or b"").splitlines()]
        start = (int(call.query.get("page", 1)) - 1) * 3
        return self.fine({"records": lines[start : start + 3]})


ENVELOPED = (Heron, Egret, Stork, Crane, Ibis, Rail, Curlew, Grebe)
