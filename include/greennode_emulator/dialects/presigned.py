"""An invention: files are uploaded and downloaded by signed URLs of an object store, and their ids are numbers.

No provider is known to work like this. The client has no preset for it: a profile has to be enough.
"""

from greennode_emulator.dialects.creates import create_fields
from greennode_emulator.dialects.dialect import Dialect, Page, Reply, SignedUpload, own_route, routes
from greennode_emulator.dialects.reply_shapes import counts, iso, number_from, problem_text
from greennode_emulator.endpoints import Endpoint
from greennode_emulator.error_bodies import BODIES
from greennode_emulator.records import BatchRecord, FileRecord, Phase


def _number(name: str | None) -> int | None:
    return int(name) if name else None


def _file(record: FileRecord) -> Reply:
    return {
        "id": int(record.id),
        "name": record.filename,
        "size": record.bytes,
        "state": record.status.value,
        "created_at": iso(record.created_at),
    }


def _batch(batch: BatchRecord, word: str) -> Reply:
    reply: Reply = {
        "id": batch.id,
        "state": word,
        "model": batch.model,
        "dataset_id": _number(batch.input_file_id),
        "result_dataset_id": _number(batch.output_file_id),
        "error_dataset_id": _number(batch.error_file_id),
        "created_at": iso(batch.created_at),
        "progress": counts(batch),
        "error_message": problem_text(batch),
        "tags": batch.metadata,
    }
    # A missing value has no field.
    return {name: value for name, value in reply.items() if value is not None}


def _upload(reply: Reply) -> Reply:
    upload = reply.pop("upload")
    return {"dataset": reply, "upload": upload}


def _list(page: Page) -> Reply:
    return {"items": page.items, "has_more": page.has_more}


PRESIGNED = Dialect(
    name="presigned",
    routes=routes(
        {
            Endpoint.UPLOAD_FILE: ("POST", "/datasets"),
            Endpoint.COMMIT_FILE: ("POST", "/datasets/{id}/complete"),
            Endpoint.LIST_FILES: ("GET", "/datasets"),
            Endpoint.GET_FILE: ("GET", "/datasets/{id}"),
            Endpoint.FILE_CONTENT: ("GET", "/datasets/{id}/download"),
            Endpoint.DELETE_FILE: ("DELETE", "/datasets/{id}"),
            Endpoint.DELETE_BATCH: own_route(Endpoint.DELETE_BATCH),
        }
    ),
    upload_purposes=frozenset(),
    upload_status=201,
    file_id=number_from,
    file_reply=_file,
    upload_reply=_upload,
    file_get_reply=lambda reply: {"dataset": reply},
    signed_upload=SignedUpload(filename="name", url="upload.url", commit=True),
    content="url",
    content_url=lambda url: {"download": {"url": url, "expires_in": 900}},
    create_body=create_fields(input_file="dataset_id", endpoint=None, window=None, metadata="tags"),
    create_status=202,
    words={
        Phase.VALIDATING: "queued",
        Phase.IN_PROGRESS: "running",
        Phase.FINALIZING: "running",
        Phase.COMPLETED: "succeeded",
        Phase.FAILED: "failed",
        Phase.EXPIRED: "expired",
        Phase.CANCELLING: "canceling",
        Phase.CANCELLED: "canceled",
    },
    batch_reply=_batch,
    list_reply=_list,
    deleted_status=204,
    deleted_reply=lambda _kind, _name: None,
    error_reply=BODIES["detail"],
)
