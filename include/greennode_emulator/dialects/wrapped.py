"""An invention: a gateway like Kong before a service that wraps every reply in `code`, `message` and `data`.

No provider is known to work like this. The client has no preset for it: a profile has to be enough.
"""

from greennode_emulator.dialects.creates import create_fields
from greennode_emulator.dialects.dialect import Dialect, Page, Paging, Reply, routes, uuid_from
from greennode_emulator.dialects.reply_shapes import error_line, local, problem_text, result_line
from greennode_emulator.endpoints import Endpoint
from greennode_emulator.error_bodies import Body
from greennode_emulator.records import BatchRecord, FileRecord, Phase
from greennode_emulator.refusals import RefusedError
from greennode_emulator.reshaping import camel_fields

_CONFLICT = 409


def _envelope(reply: Reply) -> Reply:
    return {"code": 0, "message": "success", "data": reply}


def _file(record: FileRecord) -> Reply:
    return {
        "fileId": record.id,
        "fileName": record.filename,
        "fileSize": record.bytes,
        "status": record.status.upper(),
        "createdAt": local(record.created_at),
    }


def _batch(batch: BatchRecord, word: str) -> Reply:
    return {
        "batchId": batch.id,
        "batchStatus": word,
        "modelName": batch.model,
        "inputFileId": batch.input_file_id,
        "resultFileId": batch.output_file_id,
        "failureFileId": batch.error_file_id,
        "createdAt": local(batch.created_at),
        "updatedAt": local(max([batch.created_at, *batch.entered.values()])),
        "totalCount": batch.total,
        "successCount": None if batch.counts_hidden else batch.completed,
        "failCount": None if batch.counts_hidden else batch.failed,
        "failReason": problem_text(batch),
        "metadata": batch.metadata,
    }


def _page(page: Page) -> Reply:
    return _envelope(
        {
            "listData": page.items,
            "pageNum": page.number,
            "pageSize": page.size,
            "totalItem": page.total,
            "totalPage": -(-page.total // page.size) if page.size else 0,
        }
    )


def _deleted(kind: str, name: str) -> Reply:
    return _envelope({f"{kind}Id": name})


def _error(refusal: RefusedError) -> Body:
    code = refusal.status * 100 + 1
    return {"code": code, "message": refusal.message, "data": None, "requestId": f"gw-{code}"}


def _result_line(name: str, custom_id: str, body: Reply) -> Reply:
    line = result_line(name, custom_id, body)
    return {**line, "response": {**line["response"], "body": _envelope(body)}}


def _error_line(name: str, custom_id: str, refusal: RefusedError) -> Reply:
    line = error_line(name, custom_id, refusal)
    return {**line, "response": {**line["response"], "body": _error(refusal)}}


WRAPPED = Dialect(
    name="wrapped",
    prefix="/maas/v1",
    routes=routes(
        {
            Endpoint.GET_MODEL: None,
            Endpoint.CREATE_BATCH: ("POST", "/batch-jobs"),
            Endpoint.LIST_BATCHES: ("GET", "/batch-jobs"),
            Endpoint.GET_BATCH: ("GET", "/batch-jobs/{id}"),
            Endpoint.CANCEL_BATCH: ("POST", "/batch-jobs/{id}/cancel"),
            Endpoint.DELETE_BATCH: ("DELETE", "/batch-jobs/{id}"),
        }
    ),
    headers={
        "X-RateLimit-Limit-Minute": "600",
        "X-RateLimit-Remaining-Minute": "599",
        "RateLimit-Reset": "60",
        "X-Kong-Upstream-Latency": "12",
        "X-Kong-Proxy-Latency": "1",
        "Via": "1.1 kong/3.9.1",
    },
    file_id=uuid_from,
    file_reply=_file,
    upload_reply=_envelope,
    file_get_reply=_envelope,
    create_body=create_fields(input_file="inputFileId", endpoint=None, window=None, metadata="metadata"),
    create_status=201,
    batch_id=uuid_from,
    words={
        Phase.VALIDATING: "PENDING",
        Phase.IN_PROGRESS: "PROCESSING",
        Phase.FINALIZING: "PROCESSING",
        Phase.COMPLETED: "FINALISED",
        Phase.FAILED: "FAILED",
        # The word says that there are some answers, but not that this is the end.
        Phase.EXPIRED: "PARTIAL",
        Phase.CANCELLING: "STOPPING",
        Phase.CANCELLED: "STOPPED",
    },
    batch_reply=_batch,
    create_reply=_envelope,
    get_reply=_envelope,
    paging=Paging(style="page", page="pageNum", size="pageSize"),
    list_reply=_page,
    model_list_reply=lambda page: _envelope({"listData": page.items}),
    deleted_reply=_deleted,
    error_reply=_error,
    # A business error, in the terms of the service behind the gateway.
    statuses={_CONFLICT: 200},
    result_line=_result_line,
    error_line=_error_line,
    shown_line=lambda line: camel_fields(line, depth=2),
)
