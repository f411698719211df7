"""Together AI."""

from greennode_emulator.dialects.creates import WindowlessCreate
from greennode_emulator.dialects.dialect import Dialect, Page, Paging, Reply, routes, uuid_from
from greennode_emulator.dialects.reply_shapes import WINDOW_SECONDS, ended_at, iso, problem_text
from greennode_emulator.endpoints import Endpoint
from greennode_emulator.records import BatchRecord, FileRecord, Phase
from greennode_emulator.refusals import RefusedError


def _file(record: FileRecord) -> Reply:
    return {
        "id": record.id,
        "object": "file",
        "bytes": record.bytes,
        "created_at": int(record.created_at),
        "filename": record.filename,
        "purpose": "batch-api",
        "FileType": "jsonl",
        "Processed": record.status == "processed",
        "LineCount": 0,
    }


def _batch(batch: BatchRecord, word: str) -> Reply:
    reply = {
        "id": batch.id,
        "user_id": "user-emulator",
        "input_file_id": batch.input_file_id,
        "file_size_bytes": batch.input_bytes,
        "status": word,
        "job_deadline": iso(batch.created_at + WINDOW_SECONDS),
        "created_at": iso(batch.created_at),
        "endpoint": batch.endpoint,
        "progress": 100 * batch.done / batch.total if batch.total else 0,
        "model_id": batch.model,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "error": problem_text(batch),
        "completed_at": iso(ended_at(batch)),
    }
    # Absent, not null: its SDK declares them optional.
    return {name: value for name, value in reply.items() if value is not None}


def _error_line(_name: str, custom_id: str, refusal: RefusedError) -> Reply:
    return {"custom_id": custom_id, "error": {"message": refusal.message, "code": refusal.code or str(refusal.status)}}


def _models(page: Page) -> list[Reply]:
    return [{**model, "type": "chat"} for model in page.items]


# docs.together.ai/reference/batch-create (201, wrapped in `job` beside a `warning`; the window may be left out),
# /reference/batch-get and /docs/inference/batch/manage (get is bare; status words), /reference/batch-cancel (POST,
# bare), /reference/upload-file (POST /files/upload, purpose batch-api) and togethercomputer/together-python,
# src/together/types/batch.py (fields, CANCELING) and resources/batch.py (the list is a bare array without paging).
# Not verified: the exact line of the error file ("pairs a custom_id with the failure reason") and the status of a
# cancel that comes too late. A deletion is not documented.
TOGETHER = Dialect(
    name="together",
    routes=routes({Endpoint.UPLOAD_FILE: ("POST", "/files/upload")}),
    upload_purposes=frozenset({"batch-api"}),
    file_reply=_file,
    create_body=WindowlessCreate,
    create_status=201,
    batch_id=uuid_from,
    words={
        Phase.VALIDATING: "VALIDATING",
        Phase.IN_PROGRESS: "IN_PROGRESS",
        Phase.FINALIZING: "IN_PROGRESS",
        Phase.COMPLETED: "COMPLETED",
        Phase.FAILED: "FAILED",
        Phase.EXPIRED: "EXPIRED",
        Phase.CANCELLING: "CANCELING",
        Phase.CANCELLED: "CANCELLED",
    },
    batch_reply=_batch,
    create_reply=lambda reply: {"job": reply, "warning": ""},
    paging=Paging(style="none"),
    list_reply=lambda page: page.items,
    file_list_reply=lambda page: {"object": "list", "data": page.items},
    model_list_reply=_models,
    error_line=_error_line,
)
