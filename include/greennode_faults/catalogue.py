"""Every fault that users of batch APIs have met, as cases; and mixtures of them, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from greennode_faults.case import Case

Fault = Mapping[str, Any]

_CONTENT = "GET /files/{id}/content"
_CREATE = "POST /batches"
_POLL = "GET /batches/{id}"
_UPLOAD = "POST /files"
_CANCEL = "POST /batches/{id}/cancel"
# Fewer than one of the job's shards has, and more than a half.
_TOKENS = 180
_SLOW_WINDOW = {"deadline_hours": 0.4}
# What `greennode-batch probe` finds out about the emulator's invented dialect.
_UNKNOWN = {
    "cancel_style": "delete",
    "cancel_path": "/batches/{batch_id}",
    "delete_style": "none",
    "list_style": "page",
    "size_parameter": "size",
    "completion_window": None,
}


def _call(endpoint: str, kind: str, count: int = 1, **more: Any) -> Fault:
    return {"kind": kind, "endpoint": endpoint, "count": count, **more}


def _lines(kind: str, **more: Any) -> Fault:
    """A line fault of about every third line, in the first batch."""
    return {"kind": kind, "rate": 0.35, "batches": 1, **more}


UPLOAD = (
    Case(group="upload", name="times out after it was stored", faults=[_call(_UPLOAD, "timeout", done=True)]),
    Case(group="upload", name="502 after it was stored", faults=[_call(_UPLOAD, "error_after", status=502)]),
    Case(group="upload", name="reset after it was stored", faults=[_call(_UPLOAD, "reset_after")]),
    Case(group="upload", name="reset before it was stored", faults=[_call(_UPLOAD, "reset_before", 2)]),
    Case(group="upload", name="503 for a while", faults=[_call(_UPLOAD, "status", 3, status=503)]),
    Case(group="upload", name="file not found for a minute", faults=[{"kind": "file_not_found", "looks": 4}]),
    Case(
        group="upload",
        name="file still processing at create (400)",
        faults=[{"kind": "file_processing", "looks": 3, "status": 400}],
    ),
    Case(
        group="upload",
        name="file still processing at create (409)",
        faults=[{"kind": "file_processing", "looks": 3, "status": 409}],
    ),
    Case(
        group="upload",
        name="a limit below 100 MB (413)",
        faults=[{"kind": "too_large", "max_bytes": 100, "count": 1}],
        error="RejectedError",
    ),
)

CREATE = (
    Case(group="create", name="dropped after it was accepted", faults=[_call(_CREATE, "reset_after")]),
    Case(group="create", name="never answered, though accepted", faults=[_call(_CREATE, "timeout", done=True)]),
    Case(group="create", name="502 after it was accepted", faults=[_call(_CREATE, "error_after", status=502)]),
    Case(group="create", name="nginx's 502 before it was accepted", faults=[_call(_CREATE, "html")]),
    Case(group="create", name="reset before it was accepted", faults=[_call(_CREATE, "reset_before")]),
    Case(
        group="create",
        name="429 for capacity",
        faults=[_call(_CREATE, "status", 4, status=429, code="token_limit_exceeded")],
    ),
    Case(
        group="create",
        name="failed at once with token_limit_exceeded",
        faults=[{"kind": "failed", "code": "token_limit_exceeded", "count": 4}],
    ),
    Case(
        group="split",
        name="a create over the limit on enqueued tokens",
        faults=[{"kind": "enqueued_limit", "count": 1_000, "tokens": _TOKENS, "at": "create"}],
    ),
    Case(
        group="split",
        name="a create over a limit that is not named",
        faults=[{"kind": "enqueued_limit", "count": 1_000, "tokens": _TOKENS, "at": "create", "named": False}],
    ),
    Case(
        group="split",
        name="a batch that fails over the limit",
        faults=[{"kind": "enqueued_limit", "count": 1_000, "tokens": _TOKENS}],
    ),
    Case(
        group="split",
        name="a batch that fails over a limit that is not named",
        faults=[{"kind": "enqueued_limit", "count": 1_000, "tokens": _TOKENS, "named": False}],
    ),
    Case(
        group="create",
        name="accepted, dropped, and not yet in the list",
        faults=[_call(_CREATE, "reset_after"), {"kind": "late_in_list", "seconds": 0.3}],
    ),
    Case(
        group="create",
        name="dropped, and the server cannot list",
        faults=[_call(_CREATE, "reset_after")],
        profile={"can_list_batches": False},
        error="AmbiguousError",
    ),
    Case(group="create", name="no credit (402), then topped up", faults=[_call(_CREATE, "status", 2, status=402)]),
)

WAITING = (
    Case(
        group="waiting",
        name="validating for long, then 502 HTML",
        faults=[
            {"kind": "stuck", "status": "validating", "seconds": 0.5},
            _call(_POLL, "html", 6, skip=3),
        ],
    ),
    Case(
        group="waiting",
        name="finalizing at 100% for hours",
        faults=[{"kind": "stuck", "status": "finalizing", "seconds": 0.8}],
    ),
    Case(
        group="waiting",
        name="beyond the window with no word",
        faults=[{"kind": "stuck", "status": "in_progress", "fraction": 0.5}],
        job=_SLOW_WINDOW,
    ),
    Case(
        group="waiting",
        name="validating for ever",
        faults=[{"kind": "stuck", "status": "validating"}],
        job=_SLOW_WINDOW,
    ),
    Case(
        group="waiting",
        name="for ever, and it cannot be cancelled",
        faults=[{"kind": "stuck", "status": "in_progress"}, _call(_CANCEL, "status", 50, status=500)],
        statuses=frozenset({"succeeded", "expired"}),
        job=_SLOW_WINDOW,
        withheld=True,
    ),
    Case(group="waiting", name="404 a second after create", faults=[{"kind": "not_found", "looks": 2}]),
    Case(group="waiting", name="404 in mid-life", faults=[{"kind": "not_found", "looks": 2, "after_looks": 2}]),
    Case(group="waiting", name="an unknown status word", faults=[{"kind": "unknown_status"}]),
    *(
        Case(group="waiting", name=f"counts: {show}", faults=[{"kind": "counts", "show": show, "count": 3}])
        for show in ("zero", "null", "wrong", "failed_as_completed")
    ),
    Case(
        group="waiting",
        name="rate limits on every poll",
        faults=[_call(_POLL, "status", 8, status=429, headers={"Retry-After": "20"})],
    ),
    Case(
        group="waiting",
        name="a gateway without authentication (503)",
        faults=[_call(_POLL, "status", 8, status=503, shape="message", message="Gateway Auth Unavailable")],
    ),
    Case(
        group="waiting",
        name="a key that is pending (401)",
        faults=[_call(_POLL, "status", 2, status=401)],
    ),
)

END = (
    Case(
        group="end",
        name="all lines failed, called completed",
        faults=[{"kind": "all_failed", "end": "completed", "status": 500}],
    ),
    Case(
        group="end",
        name="all lines failed, called failed",
        faults=[{"kind": "all_failed", "end": "failed", "status": 500}],
    ),
    Case(group="end", name='"" for the error file', faults=[{"kind": "empty_ids", "count": 3}]),
    Case(group="end", name="an error file of zero bytes", faults=[{"kind": "empty_error_file", "count": 3}]),
    Case(group="end", name="ids before the files are readable", faults=[{"kind": "ids_early", "seconds": 0.4}]),
    Case(group="end", name="content 502", faults=[_call(_CONTENT, "html", 3)]),
    Case(group="end", name="content 404 for a while", faults=[_call(_CONTENT, "status", 4, status=404)]),
    *(
        Case(
            group="end",
            name=f"cut-off download, Content-Length {length}",
            faults=[_call(_CONTENT, "truncated", 2, length=length, fraction=0.6)],
        )
        for length in ("right", "lying", "none")
    ),
    *(
        Case(
            group="end",
            name=f"gzip not asked for{'' if declared else ', and not declared'}",
            faults=[_call(_CONTENT, "gzip", 3, declared=declared)],
        )
        for declared in (True, False)
    ),
    Case(group="end", name="expired half done", faults=[{"kind": "expired"}]),
    Case(group="end", name="expired half done, the rest unlisted", faults=[{"kind": "expired", "listed": False}]),
    Case(group="end", name="cancelled half done", faults=[{"kind": "cancelled"}]),
    Case(group="end", name="failed half done", faults=[{"kind": "failed", "fraction": 0.5, "code": "internal"}]),
    Case(group="end", name="forgotten (404 for ever)", faults=[{"kind": "forgotten", "after_looks": 1}]),
)

LINES = (
    Case(group="lines", name="missing", faults=[_lines("missing")]),
    *(
        Case(group="lines", name=f"twice: {order}", faults=[_lines("duplicate", order=order)])
        for order in ("same", "failure_first", "success_first")
    ),
    Case(group="lines", name="an unknown custom_id beside", faults=[_lines("unknown_id")]),
    Case(group="lines", name="an unknown custom_id instead", faults=[_lines("unknown_id", instead=True)]),
    Case(group="lines", name="not JSON (half a line)", faults=[_lines("not_json")]),
    Case(group="lines", name="a byte order mark", faults=[{"kind": "bom", "count": 3}]),
    Case(group="lines", name="U+2028, U+2029, U+0085 raw", faults=[_lines("separators")]),
    Case(group="lines", name="UTF-16 lines", faults=[_lines("utf16_line")]),
    Case(group="lines", name="UTF-16 files", faults=[{"kind": "utf16", "count": 3}]),
    Case(group="lines", name="CRLF", faults=[{"kind": "crlf", "count": 3}]),
    Case(group="lines", name="no final newline", faults=[{"kind": "no_final_newline", "count": 3}]),
    Case(group="lines", name="response null, error an object", faults=[_lines("null_response")]),
    Case(group="lines", name="response null, error a text", faults=[_lines("null_response", error="text")]),
    Case(group="lines", name="status 0, counted as completed", faults=[_lines("status_zero")]),
    Case(group="lines", name="an error line for the whole file", faults=[{"kind": "file_error_line", "count": 3}]),
    Case(group="lines", name="an empty answer", faults=[_lines("empty_answer")]),
    Case(group="lines", name="an answer of another schema", faults=[_lines("wrong_schema")]),
    Case(
        group="lines",
        name="cut at max_tokens",
        faults=[_lines("cut_off")],
        statuses=frozenset({"succeeded", "truncated"}),
    ),
    Case(
        group="lines",
        name="withheld by a content filter",
        faults=[_lines("content_filter")],
        statuses=frozenset({"succeeded", "refused"}),
    ),
    *(
        Case(group="lines", name=f"refused with {status}", faults=[_lines("line_error", status=status, code=None)])
        for status in (408, 409, 429, 500, 503)
    ),
    Case(
        group="lines",
        name="rejected by the model (400)",
        faults=[_lines("line_error", status=400, code="invalid_request")],
        statuses=frozenset({"succeeded", "failed"}),
    ),
)

CREDIT = (
    Case(
        group="credit",
        name="402 in mid-batch",
        faults=[{"kind": "credit_out"}],
        statuses=frozenset({"succeeded", "failed"}),
    ),
    *(
        Case(
            group="credit",
            name=f"model {word}: every line {status}",
            faults=[{"kind": "model_disabled", "status": status, "count": 1}],
            statuses=frozenset({"succeeded", "failed"}),
        )
        for word, status in (("disabled", 403), ("retired", 404))
    ),
)

DIALECTS = tuple(
    Case(
        group="dialect",
        name=f"{dialect}, half expired and lines missing",
        faults=[{"kind": "expired"}, _lines("missing")],
        dialect=dialect,
        profile=_UNKNOWN if dialect == "unknown" else {"profile": dialect},
    )
    for dialect in ("cerebras", "doubleword", "mistral", "novita", "openai", "siliconflow", "together", "unknown")
)

SINGLES = (*UPLOAD, *CREATE, *WAITING, *END, *LINES, *CREDIT, *DIALECTS)


def mixtures(count: int, *, seed: int) -> Iterator[Case]:
    """So many combinations of two to four cases that end without a person's help, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - a choice of tests, not a secret
    mixable = [case for case in SINGLES if case.error is None and not case.withheld and case.group != "dialect"]
    for number in range(count):
        parts = rng.sample(mixable, rng.randint(2, 4))
        statuses = frozenset[str]().union(*(part.statuses for part in parts))
        yield Case(
            group="mixture",
            name=f"{seed}/{number}: {' + '.join(part.name for part in parts)}",
            faults=[{**fault, "seed": rng.randrange(1000)} for part in parts for fault in part.faults],
            statuses=statuses,
            all_seen=False,  # one fault may prevent another from striking
            job={"attempts": 6} | {name: value for part in parts for name, value in part.job.items()},
        )
