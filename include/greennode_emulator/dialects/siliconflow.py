"""SiliconFlow."""

from greennode_emulator.dialects.creates import WindowlessCreate
from greennode_emulator.dialects.dialect import Dialect, Page, Reply
from greennode_emulator.dialects.reply_shapes import batch_reply
from greennode_emulator.error_bodies import BODIES, Body
from greennode_emulator.records import BatchRecord, Phase
from greennode_emulator.refusals import RefusedError

_AS_TEXT = frozenset({401, 403, 404})


def _upload(reply: Reply) -> Reply:
    named = {**reply, "createdAt": reply["created_at"]}
    kept = ("id", "object", "bytes", "createdAt", "filename", "purpose")
    return {"code": 20000, "message": "Ok", "status": True, "data": {name: named[name] for name in kept}}


def _batch(batch: BatchRecord, word: str) -> Reply:
    reply = {**batch_reply(batch, word), "request_counts": None}
    del reply["usage"], reply["model"]
    return reply


def _files(page: Page) -> Reply:
    return {"code": 20000, "message": "Ok", "status": True, "data": {"data": page.items, "object": "file"}}


def _error(refusal: RefusedError) -> Body:
    return BODIES["json_text" if refusal.status in _AS_TEXT else "coded"](refusal)


# docs.siliconflow.cn/cn/api-reference/batch: upload-file (the reply in `data`, beside a code; createdAt),
# get-file-list, create-batch (in_queue, request_counts null, a window of 24 to 336 hours), get-batch, get-batch-list
# (after, limit); api-docs.siliconflow.cn/docs/api/batches-get: errors are {code, message, data}, and a JSON text for
# 401, 403 and 404. docs.siliconflow.cn/cn/userguide/guides/batch: only custom_id and the body's messages are required
# of a line. Not verified: request_counts at the end, the cancel, the line of the error file. No deletion is documented.
SILICONFLOW = Dialect(
    name="siliconflow",
    upload_reply=_upload,
    create_body=WindowlessCreate,
    words={phase: "in_queue" if phase is Phase.VALIDATING else phase.value for phase in Phase},
    batch_reply=_batch,
    file_list_reply=_files,
    error_reply=_error,
)
