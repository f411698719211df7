"""An invention: the most awkward API that still works. No provider is known to work like this.

A client that works with it, and with the others, has a fair chance with the real GreenNode.
"""

from greennode_emulator.dialects.creates import WindowlessCreate
from greennode_emulator.dialects.dialect import Dialect, Page, Paging, Reply, routes
from greennode_emulator.dialects.reply_shapes import ended_at, iso, model_reply, problems
from greennode_emulator.endpoints import Endpoint
from greennode_emulator.error_bodies import BODIES, Body
from greennode_emulator.records import BatchRecord, FileRecord, Phase
from greennode_emulator.refusals import RefusedError

_SHAPES = {400: "detail_list", 401: "message", 404: "error_text", 409: "data", 413: "html"}


def _milliseconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment * 1000)


def _file(record: FileRecord) -> Reply:
    return {
        "file_id": record.id,
        "file_name": record.filename,
        "size": str(record.bytes),
        "status": record.status.upper(),
        "create_time": iso(record.created_at),
    }


def _batch(batch: BatchRecord, word: str) -> Reply:
    # Counts stay 0 until the end; refused lines then count as completed.
    total = batch.total if batch.is_over else 0
    return {
        "batch_id": batch.id,
        "state": word,
        "input_file": batch.input_file_id,
        "result_file_id": batch.output_file_id or "",
        **({"error_file": batch.error_file_id} if batch.error_file_id else {}),
        "model": batch.model,
        "created_at": iso(batch.created_at),
        "started_at": str(int(batch.entered.get(Phase.IN_PROGRESS, 0))),
        "completed_at": _milliseconds(ended_at(batch)),
        "total": total,
        "completed": total,
        "failed": 0 if batch.counts_hidden else batch.failed,
        "errors": problems(batch),
    }


def _list(page: Page) -> Reply:
    return {
        "listData": page.items,
        "page": page.number,
        "pageSize": page.size,
        "totalItem": page.total,
        "totalPage": -(-page.total // page.size) if page.size else 0,
    }


def _models(page: Page) -> Reply:
    return {"data": page.items}


def _model(name: str) -> Reply:
    return {**model_reply(name), "status": None, "model_type": None}


def _error(refusal: RefusedError) -> Body:
    return BODIES[_SHAPES.get(refusal.status, "list")](refusal)


def _chat(reply: Reply) -> Reply:
    """One choice, as an object, whose content is a list of parts; null stays null."""
    choice = reply["choices"][0]
    message = dict(choice["message"])
    if message.get("content") is not None:
        message["content"] = [{"type": "text", "text": message["content"]}]
    return {**reply, "choices": {**choice, "message": message}}


def _result_line(_name: str, custom_id: str, body: Reply) -> Reply:
    return {"custom_id": custom_id, "response": _chat(body), "error": ""}


def _error_line(_name: str, custom_id: str, refusal: RefusedError) -> Reply:
    return {"custom_id": custom_id, "response": None, "error": f"{refusal.status}: {refusal.message}"}


UNKNOWN = Dialect(
    name="unknown",
    routes=routes({Endpoint.CANCEL_BATCH: ("DELETE", "/batches/{id}")}),
    headers={
        "X-RateLimit-Limit-Minute": "6000",
        "X-RateLimit-Remaining-Minute": "5999",
        "X-RateLimit-Reset-Minute": "60",
        "Via": "kong/3.4.2",
    },
    file_reply=_file,
    upload_reply=lambda reply: {"success": True, "result": reply},
    line_form="bare",
    content="redirect",
    create_body=WindowlessCreate,
    words={
        Phase.VALIDATING: "JOB_STATE_PENDING",
        Phase.IN_PROGRESS: "JOB_STATE_RUNNING",
        # No client knows this word.
        Phase.FINALIZING: "JOB_STATE_WRAPPING_UP",
        Phase.COMPLETED: "JOB_STATE_SUCCEEDED",
        Phase.FAILED: "JOB_STATE_FAILED",
        Phase.EXPIRED: "JOB_STATE_EXPIRED",
        Phase.CANCELLING: "JOB_STATE_CANCELLING",
        Phase.CANCELLED: "JOB_STATE_CANCELED",
    },
    batch_reply=_batch,
    create_reply=lambda reply: {"success": True, "result": reply},
    ids_early=True,
    paging=Paging(style="page", size="size", first=1),
    list_delay_seconds=0.5,
    list_reply=_list,
    model_list_reply=_models,
    model_reply=_model,
    error_reply=_error,
    # A cancel that comes too late returns 200 with an error.
    statuses={409: 200},
    result_line=_result_line,
    error_line=_error_line,
)
