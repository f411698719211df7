"""Mistral AI."""

from collections import Counter

from greennode_emulator.dialects.creates import MistralCreate
from greennode_emulator.dialects.dialect import Dialect, Page, Paging, Reply, own_route, routes, uuid_from
from greennode_emulator.dialects.reply_shapes import ended_at, epoch, file_reply
from greennode_emulator.endpoints import Endpoint
from greennode_emulator.error_bodies import BODIES, Body, flat
from greennode_emulator.records import BatchRecord, FileRecord, Phase
from greennode_emulator.refusals import RefusedError

_BAD_REQUEST, _UNPROCESSABLE = 400, 422


def _file(record: FileRecord) -> Reply:
    return {**file_reply(record), "sample_type": "batch_request", "source": "upload", "num_lines": None}


def _batch(batch: BatchRecord, word: str) -> Reply:
    messages = Counter(problem.message for problem in batch.problems)
    hidden = batch.counts_hidden
    return {
        "id": batch.id,
        "object": "batch",
        "input_files": [batch.input_file_id],
        "endpoint": batch.endpoint,
        "model": batch.model,
        "agent_id": None,
        "metadata": batch.metadata,
        "output_file": batch.output_file_id,
        "error_file": batch.error_file_id,
        "errors": [{"message": message, "count": count} for message, count in messages.items()],
        "status": word,
        "created_at": int(batch.created_at),
        "started_at": epoch(batch.entered.get(Phase.IN_PROGRESS)),
        "completed_at": epoch(ended_at(batch)),
        "total_requests": None if hidden else batch.total,
        # The failed requests count as completed too.
        "completed_requests": None if hidden else batch.completed + batch.failed,
        "succeeded_requests": None if hidden else batch.completed,
        "failed_requests": None if hidden else batch.failed,
    }


def _list(page: Page) -> Reply:
    return {"data": page.items, "object": "list", "total": page.total}


def _error(refusal: RefusedError) -> Body:
    if refusal.status == _BAD_REQUEST:
        return BODIES["detail_list"](refusal)
    return {"object": "error", **flat(refusal)}


def _error_line(name: str, custom_id: str, refusal: RefusedError) -> Reply:
    return {
        "id": f"batch-{name}",
        "custom_id": custom_id,
        "response": None,
        "error": {"code": refusal.code or refusal.status, "message": refusal.message},
    }


# mistralai/client-python, docs/sdks/mistraljobs (POST /v1/batch/jobs with input_files, endpoint, model, timeout_hours,
# metadata; lines that name no model; GET with page from 0 and page_size); docs.rs/crate/mistral-openapi-client,
# batch_job_status and batch_job_out (status words, fields); docs.mistral.ai/api/endpoint/batch (operation
# jobs_api_routes_batch_delete_batch_job: DELETE, 200). Not verified: the signed URL at GET /v1/files/{id}/url, 422 with
# a list of details, what a second deletion says (410 is played here), the status of a cancel that comes too late, the
# line of the error file.
MISTRAL = Dialect(
    name="mistral",
    routes=routes(
        {
            Endpoint.CREATE_BATCH: ("POST", "/batch/jobs"),
            Endpoint.LIST_BATCHES: ("GET", "/batch/jobs"),
            Endpoint.GET_BATCH: ("GET", "/batch/jobs/{id}"),
            Endpoint.CANCEL_BATCH: ("POST", "/batch/jobs/{id}/cancel"),
            Endpoint.DELETE_BATCH: ("DELETE", "/batch/jobs/{id}"),
            Endpoint.FILE_URL: own_route(Endpoint.FILE_URL),
        }
    ),
    file_id=uuid_from,
    file_reply=_file,
    create_body=MistralCreate,
    batch_id=uuid_from,
    words={
        Phase.VALIDATING: "QUEUED",
        Phase.IN_PROGRESS: "RUNNING",
        Phase.FINALIZING: "RUNNING",
        Phase.COMPLETED: "SUCCESS",
        Phase.FAILED: "FAILED",
        Phase.EXPIRED: "TIMEOUT_EXCEEDED",
        Phase.CANCELLING: "CANCELLATION_REQUESTED",
        Phase.CANCELLED: "CANCELLED",
    },
    batch_reply=_batch,
    paging=Paging(style="page", size="page_size", first=0),
    list_reply=_list,
    gone_status=410,
    error_reply=_error,
    statuses={_BAD_REQUEST: _UNPROCESSABLE},
    error_line=_error_line,
)
