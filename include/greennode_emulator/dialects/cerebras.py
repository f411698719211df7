"""Cerebras."""

from greennode_emulator.dialects.creates import WindowlessCreate
from greennode_emulator.dialects.dialect import Dialect, Reply, routes
from greennode_emulator.dialects.reply_shapes import batch_reply, counts, problem_text
from greennode_emulator.endpoints import Endpoint
from greennode_emulator.error_bodies import flat
from greennode_emulator.records import BatchRecord, Phase


def _batch(batch: BatchRecord, word: str) -> Reply:
    reply = {
        **batch_reply(batch, word),
        # A text, and null counts in the reply to a cancel.
        "errors": problem_text(batch),
        "request_counts": None if batch.phase is Phase.CANCELLING else counts(batch),
        "expires_at": None,
        "in_progress_at": None,
    }
    del reply["usage"], reply["model"]
    return reply


# inference-docs.cerebras.ai/api-reference/batch: create-batch, list-batch (errors a text), cancel-batch (DELETE on the
# batch; request_counts null), /file/upload-file (ids "file…" without a dash), /capabilities/batch (lines with method
# and url; 200 MB; at least 10 requests a file, which is not enforced here, so that small tests work). Not verified:
# the status of a cancel that comes too late (400 is played here), rate headers of the batch endpoints.
CEREBRAS = Dialect(
    name="cerebras",
    routes=routes({Endpoint.CANCEL_BATCH: ("DELETE", "/batches/{id}")}),
    headers={
        "x-ratelimit-limit-requests-day": "1000000",
        "x-ratelimit-remaining-requests-day": "999999",
        "x-ratelimit-reset-requests-day": "33011.38",
    },
    file_id=lambda text: f"file{text}",
    line_form="full",
    create_body=WindowlessCreate,
    batch_reply=_batch,
    error_reply=flat,
    statuses={409: 400},
)
