"""How files, batches and errors look on the wire.

A dialect is a description: names, words and small functions from a neutral record to a reply. Behaviour is the
same in every dialect and lives elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greennode_emulator.answers import Answer
from greennode_emulator.chat_request import ChatRequest
from greennode_emulator.endpoints import Endpoint
from greennode_emulator.records import BatchRecord, FileRecord, Phase
from greennode_emulator.refusals import RefusedError

Reply = dict[str, Any]
WINDOW_SECONDS = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One way to speak. `routes` says where each operation is: its method and its path below `prefix`."""

    name: str
    prefix: str
    routes: Mapping[Endpoint, tuple[str, str]]
    upload_purposes: frozenset[str]
    batch_endpoints: frozenset[str]
    completion_windows: frozenset[str]
    file_reply: Callable[[FileRecord], Reply]
    batch_reply: Callable[[BatchRecord], Reply]
    deleted_reply: Callable[[str, str], Reply]
    list_reply: Callable[[Sequence[Reply], bool], Reply]
    model_reply: Callable[[str], Reply]
    chat_reply: Callable[[ChatRequest, Answer, str, int], Reply]
    result_line: Callable[[str, str, int, Reply], Reply]
    error_reply: Callable[[RefusedError], Reply]


def _file(record: FileRecord) -> Reply:
    return {
        "id": record.id,
        "object": "file",
        "bytes": record.bytes,
        "created_at": int(record.created_at),
        "filename": record.filename,
        "purpose": record.purpose.value,
        "status": "processed",
        "status_details": None,
    }


def _batch(batch: BatchRecord) -> Reply:
    problems = [
        {"code": one.code, "line": one.line, "message": one.message, "param": one.param} for one in batch.problems
    ]
    times = {
        f"{phase.value}_at": int(batch.entered[phase]) if phase in batch.entered else None
        for phase in Phase
        if phase is not Phase.VALIDATING
    }
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": {"object": "list", "data": problems} if problems else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.phase.value,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created_at),
        "expires_at": int(batch.created_at) + WINDOW_SECONDS,
        "expired_at": None,
        **times,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "usage": {
            "input_tokens": batch.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": batch.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": batch.prompt_tokens + batch.completion_tokens,
        },
        "metadata": batch.metadata,
    }


def _deleted(kind: str, name: str) -> Reply:
    return {"id": name, "object": kind, "deleted": True}


def _list(items: Sequence[Reply], has_more: bool) -> Reply:  # noqa: FBT001 - called through the dialect by position
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }


def _model(name: str) -> Reply:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": name.partition("/")[0]}


def _chat(request: ChatRequest, answer: Answer, name: str, created: int) -> Reply:
    completion_tokens = answer.completion_tokens
    return {
        "id": name,
        "object": "chat.completion",
        "created": created,
        "model": request.model,
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": choice.content, "refusal": None},
                "logprobs": None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(answer.choices)
        ],
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": answer.prompt_tokens + completion_tokens,
        },
    }


def _result_line(name: str, custom_id: str, status: int, body: Reply) -> Reply:
    # A refused request stands in the error file in the same shape, its status and body those of the refusal.
    return {
        "id": f"batch_req_{name}",
        "custom_id": custom_id,
        "response": {"status_code": status, "request_id": f"req_{name}", "body": body},
        "error": None,
    }


def _error(refusal: RefusedError) -> Reply:
    return {
        "error": {
            "message": refusal.message,
            "type": refusal.kind,
            "param": refusal.param,
            "code": refusal.code,
        }
    }


def _own_route(endpoint: Endpoint) -> tuple[str, str]:
    method, _, path = endpoint.value.partition(" ")
    return method, path


OPENAI = Dialect(
    name="openai",
    prefix="/v1",
    routes={endpoint: _own_route(endpoint) for endpoint in Endpoint},
    upload_purposes=frozenset({"batch"}),
    batch_endpoints=frozenset({"/v1/chat/completions"}),
    completion_windows=frozenset({"24h"}),
    file_reply=_file,
    batch_reply=_batch,
    deleted_reply=_deleted,
    list_reply=_list,
    model_reply=_model,
    chat_reply=_chat,
    result_line=_result_line,
    error_reply=_error,
)

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (OPENAI,)}
