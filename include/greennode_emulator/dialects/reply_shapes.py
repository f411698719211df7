"""OpenAI's replies, which other dialects vary, and the forms of times and counts.

Source: platform.openai.com/docs/api-reference (files, batch, models) and openai/openai-python, src/openai/types.
"""

import datetime as dt
from typing import TYPE_CHECKING, Any

from greennode_emulator.error_bodies import error_object
from greennode_emulator.records import BatchRecord, FileRecord, Phase
from greennode_emulator.refusals import RefusedError

if TYPE_CHECKING:
    from greennode_emulator.dialects.dialect import Page

Reply = dict[str, Any]
WINDOW_SECONDS = 24 * 3600


def bare(reply: Reply) -> Reply:
    """As it is."""
    return reply


def number_from(text: str) -> str:
    """An id that is a whole number, from hexadecimal digits."""
    return str(int(text[:12], 16) + 1)


def url_reply(url: str) -> Reply:
    """Where something is."""
    return {"url": url}


def file_id(text: str) -> str:
    """The id of a file."""
    return f"file-{text}"


def batch_id(text: str) -> str:
    """The id of a batch."""
    return f"batch_{text}"


def epoch(moment: float | None) -> int | None:
    """Seconds since 1970."""
    return None if moment is None else int(moment)


def iso(moment: float | None) -> str | None:
    """ISO 8601, in UTC."""
    if moment is None:
        return None
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local(moment: float | None, hours: float = 7) -> str | None:
    """The local time at so many hours ahead of UTC, without an offset."""
    if moment is None:
        return None
    return dt.datetime.fromtimestamp(moment + hours * 3600, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def ended_at(batch: BatchRecord) -> float | None:
    """When the batch reached its end."""
    return batch.entered[batch.phase] if batch.is_over else None


def counts(batch: BatchRecord) -> Reply | None:
    """The requests of a batch, or None where a fault hides them."""
    if batch.counts_hidden:
        return None
    return {"total": batch.total, "completed": batch.completed, "failed": batch.failed}


def problems(batch: BatchRecord) -> list[Reply]:
    """Why a batch failed."""
    return [{"code": one.code, "line": one.line, "message": one.message, "param": one.param} for one in batch.problems]


def problem_text(batch: BatchRecord) -> str | None:
    """Why a batch failed, in one text."""
    return "; ".join(f"{one.code}: {one.message}" for one in batch.problems) or None


def file_reply(record: FileRecord) -> Reply:
    """A file."""
    return {
        "id": record.id,
        "object": "file",
        "bytes": record.bytes,
        "created_at": int(record.created_at),
        "filename": record.filename,
        "purpose": record.purpose.value,
        "status": record.status,
        "status_details": None,
    }


def batch_reply(batch: BatchRecord, word: str) -> Reply:
    """A batch."""
    found = problems(batch)
    times = {f"{phase.value}_at": epoch(batch.entered.get(phase)) for phase in Phase if phase is not Phase.VALIDATING}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": {"object": "list", "data": found} if found else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": word,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created_at),
        "expires_at": int(batch.created_at) + WINDOW_SECONDS,
        **times,
        "request_counts": counts(batch),
        "usage": {
            "input_tokens": batch.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": batch.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": batch.prompt_tokens + batch.completion_tokens,
        },
        "metadata": batch.metadata,
    }


def deleted_reply(kind: str, name: str) -> Reply:
    """The reply to a deletion."""
    return {"id": name, "object": kind, "deleted": True}


def list_reply(page: "Page") -> Reply:
    """A list with a cursor."""
    items = page.items
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": page.has_more,
    }


def model_reply(name: str) -> Reply:
    """A model."""
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": name.partition("/")[0]}


def result_line(name: str, custom_id: str, body: Reply) -> Reply:
    """A line of the output file."""
    return {
        "id": f"batch_req_{name}",
        "custom_id": custom_id,
        "response": {"status_code": 200, "request_id": f"req_{name}", "body": body},
        "error": None,
    }


def error_line(name: str, custom_id: str, refusal: RefusedError) -> Reply:
    """A line of the error file: the same shape, its status and body those of the refusal."""
    return {
        "id": f"batch_req_{name}",
        "custom_id": custom_id,
        "response": {"status_code": refusal.status, "request_id": f"req_{name}", "body": error_object(refusal)},
        "error": None,
    }
