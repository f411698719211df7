"""Faults of the emulator that the year plays, by name, and why it does not play the others."""

from __future__ import annotations

from typing import Any

Fault = dict[str, Any]

_UPLOAD, _CREATE, _LIST = "POST /files", "POST /batches", "GET /batches"
_POLL, _CONTENT = "GET /batches/{id}", "GET /files/{id}/content"


def _line(kind: str, rate: float = 0.5, **more: Any) -> Fault:
    return {"kind": kind, "rate": rate, **more}


FAULTS: dict[str, list[Fault]] = {
    "expired": [{"kind": "expired", "fraction": 0.5, "listed": False}],
    "expired, listed": [{"kind": "expired", "fraction": 0.5, "listed": True}],
    "all expired": [{"kind": "expired", "fraction": 0.0, "count": None}],
    "cancelled": [{"kind": "cancelled"}],
    "failed half done": [{"kind": "failed", "fraction": 0.5, "code": "internal", "message": "Internal error"}],
    "over capacity": [{"kind": "failed", "code": "token_limit_exceeded"}],
    "all failed": [{"kind": "all_failed", "status": 500}],
    "all failed, called failed": [{"kind": "all_failed", "status": 500, "end": "failed"}],
    "credit out": [{"kind": "credit_out"}],
    "model disabled": [{"kind": "model_disabled"}],
    "filtered": [_line("content_filter")],
    "cut off": [_line("cut_off")],
    "rejected": [_line("line_error", status=400)],
    "overloaded": [_line("line_error", 0.7, status=503)],
    "forbidden": [_line("line_error", status=403)],
    "lines lost": [_line("missing")],
    "lines twice": [_line("duplicate", order="failure_first")],
    "lines twice, the good one first": [_line("duplicate", order="success_first")],
    "strange ids": [_line("unknown_id")],
    "strange ids instead": [_line("unknown_id", instead=True)],
    "half lines": [_line("not_json")],
    "UTF-16 lines": [_line("utf16_line")],
    "separators": [_line("separators")],
    "wrong answers": [_line("wrong_schema")],
    "empty answers": [_line("empty_answer")],
    "no response": [_line("null_response")],
    "status 0": [_line("status_zero", count=1)],
    "byte order mark": [{"kind": "bom"}],
    "UTF-16 files": [{"kind": "utf16"}],
    "CRLF": [{"kind": "crlf"}],
    "no final newline": [{"kind": "no_final_newline"}],
    "file error line": [{"kind": "file_error_line"}],
    "empty ids": [{"kind": "empty_ids"}],
    "empty error file": [{"kind": "empty_error_file"}],
    "ids early": [{"kind": "ids_early"}],
    "counts": [{"kind": "counts", "show": "failed_as_completed"}],
    "stuck": [{"kind": "stuck", "status": "finalizing", "seconds": 1800}],
    "unknown status": [{"kind": "unknown_status"}],
    "local times": [{"kind": "local_times"}],
    "create dropped": [{"kind": "reset_after", "endpoint": _CREATE}],
    "create dropped before": [{"kind": "reset_before", "endpoint": _CREATE}],
    "create failed": [{"kind": "status", "endpoint": _CREATE, "status": 503}],
    "create failed after": [{"kind": "error_after", "endpoint": _CREATE}],
    "upload failed after": [{"kind": "error_after", "endpoint": _UPLOAD}],
    "file out of sight": [{"kind": "file_not_found", "looks": 2}],
    "file processing": [{"kind": "file_processing", "looks": 2}],
    "proxy's page": [{"kind": "html", "endpoint": _POLL, "count": 2}],
    "storm": [{"kind": "storm", "endpoint": _POLL, "seconds": 60}],
    "download cut": [{"kind": "truncated", "endpoint": _CONTENT}],
    "download packed": [{"kind": "gzip", "endpoint": _CONTENT}],
    "content by URL": [{"kind": "content_url", "count": None}],
    "headers": [{"kind": "headers", "endpoint": _POLL, "headers": {"X-RateLimit-Remaining": "0"}}],
    "list late": [{"kind": "late_in_list", "seconds": 20}],
    "batch out of sight": [{"kind": "not_found", "looks": 2}],
}

NOT_PLAYED = {
    "timeout": "takes the client's real time",
    "slow": "takes real time",
    "slowing": "takes real time",
    "stalled": "takes real time",
    "chat_answer": "live answers are final at once; tests of live shards have it",
    "too_large": "a person has to lower the shard's limit",
    "enqueued_limit": "a request that is alone over the limit waits for a day of polls; the fault matrix splits shards",
    "line_shape": "a person has to correct the profile",
    "partial_list": "a list that lies is no promise, and alone it does nothing",
    "forgotten": "what was billed is lost, so it is asked again",
    "swapped_file": "the auditor cannot tell samples in a rewritten file",
    "repeated_create": "one batch more is billed until it is cancelled",
}
