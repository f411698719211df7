"""Novita AI."""

from greennode_emulator.dialects.creates import WindowlessCreate
from greennode_emulator.dialects.dialect import Dialect, Paging, Reply
from greennode_emulator.dialects.reply_shapes import batch_reply, iso, problem_text
from greennode_emulator.error_bodies import Body
from greennode_emulator.records import BatchRecord, Phase
from greennode_emulator.refusals import RefusedError


def _batch(batch: BatchRecord, word: str) -> Reply:
    times = {f"{phase.value}_at": iso(batch.entered.get(phase)) for phase in Phase if phase is not Phase.VALIDATING}
    return {
        **batch_reply(batch, word),
        **times,
        "completion_window": "48h",
        # Empty until there is one.
        "output_file_id": batch.output_file_id or "",
        "error_file_id": batch.error_file_id or "",
        "errors": problem_text(batch) or "",
        "version": len(batch.entered),
        "created_at": iso(batch.created_at),
        "expires_at": iso(batch.created_at + 2 * 24 * 3600),
        "updated_at": iso(max([batch.created_at, *batch.entered.values()])),
        "created_by": "emulator",
        "created_by_key_id": "key-emulator",
        "remark": "",
        "total": batch.total,
        "completed": batch.completed,
        "failed": batch.failed,
    }


def _error(refusal: RefusedError) -> Body:
    return {
        "code": refusal.status,
        "reason": (refusal.code or refusal.kind).upper(),
        "message": refusal.message,
        "metadata": {},
    }


def _error_line(name: str, custom_id: str, refusal: RefusedError) -> Reply:
    return {
        "id": f"batch_req_{name}",
        "custom_id": custom_id,
        "response": {"status_code": refusal.status, "request_id": name, "body": None},
        "error": refusal.message,
    }


# novita.ai/docs/api-reference: model-apis-llm-create-batch (the window is fixed, 24h on one page and 48h on others),
# -retrieve-batch (file ids "empty until", times that are text or null, flat and nested counts, errors a text),
# -list-batches (no parameters), -cancel-batch (POST .../cancel), -retrieve-file-content (the output line). The base
# URL ends in /openai/v1. Not verified: the form of the times, the error bodies, the error line. No deletion.
NOVITA = Dialect(
    name="novita",
    prefix="/openai/v1",
    create_body=WindowlessCreate,
    words={
        Phase.VALIDATING: "VALIDATING",
        Phase.IN_PROGRESS: "PROGRESS",
        Phase.FINALIZING: "PROGRESS",
        Phase.COMPLETED: "COMPLETED",
        Phase.FAILED: "FAILED",
        Phase.EXPIRED: "EXPIRED",
        Phase.CANCELLING: "CANCELLING",
        Phase.CANCELLED: "CANCELLED",
    },
    batch_reply=_batch,
    paging=Paging(style="none"),
    error_reply=_error,
    error_line=_error_line,
)
