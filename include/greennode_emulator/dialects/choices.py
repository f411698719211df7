"""The ways in which servers of this kind differ, each seen somewhere; and one draw of all of them from a seed."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """One server. A field that is left out is as OpenAI has it, or as the emulator's guess at GreenNode has it.

    Names are in snake case here; `camel_case` changes those of requests and replies, `camel_lines` those of result
    lines.
    """

    prefix: str = "/v1"
    camel_case: bool = False
    rate_headers: bool = False
    wrapper: str = ""
    """The field that wraps replies; "own": `file` and `job`; "envelope": `data`, beside `code` and `message`."""
    wraps_all: bool = False
    """Whether every reply is wrapped, or only that of an upload and of a create."""

    files_path: str = "/files"
    upload_suffix: str = ""
    upload: str = "form"
    """"form"; "signed": a URL to PUT to; "signed_commit": and a third call."""
    upload_elsewhere: bool = False
    upload_filename: str = "filename"
    upload_url: str = "upload_url"
    """Names for an upload by URL; the second is a dotted path."""
    purpose: str | None = "batch"
    file_id: str = "prefixed"
    """"prefixed", "uuid", "integer" or "base64"."""
    file_id_name: str = "id"
    file_status: str = "lower"
    """"lower", "upper" or "none": no such field."""
    processing_looks: int = 0
    """How many reads of a new file show it as processing; a create in that time is refused with `processing_status`."""
    processing_status: int = 400

    line_form: str = "any"
    batches_path: str = "/batches"
    input_file: str = "input_file_id"
    """The field of a create; `input_files` is a list."""
    endpoint: bool = True
    window: bool = True
    model_in_create: bool = False
    """Whether a create requires them."""
    metadata: bool = True
    create_status: int = 200
    batch_id: str = "prefixed"
    batch_id_name: str = "id"
    status_name: str = "status"
    output_name: str = "output_file_id"
    error_name: str = "error_file_id"
    none_is: str = "null"
    """The value for a missing file: "null", "empty" (a text) or "absent"."""
    ids_early: bool = False
    words: str = "openai"
    unknown_word: str = ""
    """Empty: none; else the phase with an unknown status word: "middle", or "end"."""
    counts: str = "nested"
    """"nested", "flat", "null", "none" or "zero" until the end."""
    times: str = "epoch"
    """"epoch", "milliseconds", "text" (seconds), "iso" or "local"."""

    paging: str = "cursor"
    page_name: str = "page"
    size_name: str = "page_size"
    first_page: int = 1
    list_items: str = "data"
    """The field of the items; "": a bare array."""
    list_empty: bool = False
    list_delay_seconds: float = 0.0
    cancel: str = "post"
    delete: bool = True
    deleted_status: int = 200
    gone_status: int = 404
    late_cancel_status: int = 409
    errors: str = "error"
    """A name of `error_bodies.BODIES`."""

    results: str = "content"
    """"content", "redirect", "url" (in JSON) or "batch": all lines at the batch's `/results`."""
    results_elsewhere: bool = False
    results_url: str = "url"
    results_gzip: str = "no"
    camel_lines: bool = False
    line_wrapper: str = ""
    line_id: str = "custom_id"
    line_answer: str = "response"
    response: str = "wrapped"
    """"wrapped": status and body; "body": the answer itself."""
    answer: str = "openai"
    """"openai"; "object": `choices` is one; "parts": the content is a list."""
    error_lines: str = "response"
    """"response": a status and a body; "object" or "text": `response` is null, and `error` that."""

    models: str = "listed"
    """"listed"; "missing": 404; "broken": 500."""
    gateway: str = ""
    """"swaps": input files are rewritten, and their ids."""

    # Added later: a description of a seed begins as it did before.
    key_header: str = "Authorization: Bearer {key}"
    cancel_method: str = "POST"
    results_form: str = "lines"
    """"lines", "array" (of JSON), "wrapped" (the array in a wrapper) or "zip"."""


_CONFLICT = 409

SPACE: Mapping[str, Sequence[tuple[Any, int]]] = {
    "prefix": [("/v1", 6), ("/openai/v1", 1), ("/api/v1", 1)],
    "camel_case": [(False, 5), (True, 1)],
    "rate_headers": [(False, 1), (True, 1)],
    "key_header": [("Authorization: Bearer {key}", 14), ("apikey: {key}", 1), ("X-Api-Key: {key}", 1)],
    "wrapper": [("", 5), ("data", 2), ("result", 1), ("own", 2), ("envelope", 2)],
    "wraps_all": [(False, 1), (True, 1)],
    "files_path": [("/files", 12), ("/batch/files", 1)],
    "upload_suffix": [("", 6), ("/upload", 1)],
    "upload": [("form", 8), ("signed", 1), ("signed_commit", 1)],
    "upload_elsewhere": [(True, 2), (False, 1)],
    "upload_filename": [("filename", 2), ("file_name", 1), ("name", 1)],
    "upload_url": [("upload_url", 2), ("url", 1), ("upload.url", 1)],
    "purpose": [("batch", 5), ("batch-api", 2), (None, 1)],
    "file_id": [("prefixed", 5), ("uuid", 2), ("integer", 1), ("base64", 1)],
    "file_id_name": [("id", 6), ("file_id", 1)],
    "file_status": [("lower", 4), ("upper", 2), ("none", 1)],
    "processing_looks": [(0, 7), (2, 1)],
    "processing_status": [(400, 2), (409, 1), (422, 1)],
    "line_form": [("any", 4), ("bare", 2), ("full", 2)],
    "batches_path": [("/batches", 7), ("/batch/jobs", 1), ("/jobs", 1)],
    "input_file": [("input_file_id", 7), ("input_file", 1), ("file_id", 1), ("input_files", 1)],
    "endpoint": [(True, 3), (False, 1)],
    "window": [(True, 3), (False, 2)],
    "model_in_create": [(False, 6), (True, 1)],
    "metadata": [(True, 4), (False, 1)],
    "create_status": [(200, 3), (201, 1), (202, 1)],
    "batch_id": [("prefixed", 5), ("uuid", 2), ("integer", 1), ("base64", 1)],
    "batch_id_name": [("id", 6), ("batch_id", 1), ("job_id", 1)],
    "status_name": [("status", 5), ("state", 1)],
    "output_name": [("output_file_id", 4), ("output_file", 1), ("result_file_id", 1)],
    "error_name": [("error_file_id", 4), ("error_file", 1)],
    "none_is": [("null", 3), ("empty", 1), ("absent", 1)],
    "ids_early": [(False, 5), (True, 1)],
    "words": [("openai", 3), ("upper", 2), ("novita", 1), ("mistral", 1), ("siliconflow", 1), ("job_state", 1)],
    "unknown_word": [("", 10), ("middle", 1), ("end", 1)],
    "counts": [("nested", 4), ("flat", 2), ("null", 1), ("none", 1), ("zero", 1)],
    "times": [("epoch", 3), ("milliseconds", 1), ("text", 1), ("iso", 2), ("local", 1)],
    "paging": [("cursor", 4), ("page", 2), ("none", 1)],
    "page_name": [("page", 3), ("pageNum", 1)],
    "size_name": [("page_size", 2), ("size", 1), ("limit", 1)],
    "first_page": [(1, 2), (0, 1)],
    "list_items": [("data", 4), ("items", 1), ("value", 1), ("listData", 1), ("", 1)],
    "list_empty": [(False, 15), (True, 1)],
    "list_delay_seconds": [(0.0, 6), (0.5, 1)],
    "cancel": [("post", 4), ("delete", 1)],
    "cancel_method": [("POST", 9), ("PUT", 1)],
    "delete": [(True, 2), (False, 1)],
    "deleted_status": [(200, 2), (204, 1)],
    "gone_status": [(404, 3), (410, 1)],
    "late_cancel_status": [(409, 3), (400, 2), (200, 1)],
    "errors": [("error", 4), ("error_text", 1), ("message", 1), ("detail", 1), ("data", 1), ("list", 1), ("text", 1)],
    "results": [("content", 6), ("redirect", 1), ("url", 1), ("batch", 1)],
    "results_elsewhere": [(True, 2), (False, 1)],
    "results_url": [("url", 3), ("download_url", 1), ("data.url", 1)],
    "results_gzip": [("no", 8), ("declared", 1), ("undeclared", 1)],
    "results_form": [("lines", 12), ("array", 1), ("wrapped", 1), ("zip", 1)],
    "camel_lines": [(False, 9), (True, 1)],
    "line_wrapper": [("", 12), ("data", 1), ("result", 1)],
    "line_id": [("custom_id", 14), ("key", 1), ("meta.id", 1)],
    "line_answer": [("response", 14), ("output", 1), ("reply", 1)],
    "response": [("wrapped", 4), ("body", 1)],
    "answer": [("openai", 6), ("object", 1), ("parts", 1)],
    "error_lines": [("response", 3), ("object", 2), ("text", 1)],
    "models": [("listed", 8), ("missing", 1), ("broken", 1)],
    "gateway": [("", 11), ("swaps", 1)],
}
"""Each way, and its weight."""


def choices_of(seed: int) -> Choices:
    """The choices of a seed: the same on every machine, and for today's fields in every later version."""
    return consistent(Choices(**{name: _pick(f"{seed} {name}", ways) for name, ways in SPACE.items()}))


def describe(choices: Choices) -> str:
    """The unusual choices, on one line: "camel_case, wrapper=data, ..."."""
    usual = Choices()
    said = []
    for name in Choices.__struct_fields__:
        value = getattr(choices, name)
        if value != getattr(usual, name):
            said.append(name if value is True else f"{name}={str(value).lower() if value in (False, None) else value}")
    return ", ".join(said) or "as usual"


def _pick(seed: str, ways: Sequence[tuple[Any, int]]) -> Any:
    # A stream for each field, so that a new field does not change the others.
    roll = random.Random(seed).random() * sum(weight for _, weight in ways)  # noqa: S311 - a draw, no secret
    for value, weight in ways:
        roll -= weight
        if roll < 0:
            return value
    return ways[-1][0]


def consistent(drawn: Choices) -> Choices:
    """The same server, without combinations that are impossible or have no effect."""
    set_to: dict[str, Any] = {}
    for has_no_effect, names in _WITHOUT_EFFECT:
        if has_no_effect(drawn):
            set_to |= {name: getattr(Choices(), name) for name in names}
    if drawn.wrapper == "envelope":
        set_to["errors"] = "coded"
    if drawn.cancel == "delete":
        set_to["delete"] = False
    return msgspec.structs.replace(drawn, **set_to)


_WITHOUT_EFFECT: Sequence[tuple[Callable[[Choices], bool], Sequence[str]]] = (
    (lambda one: not one.wrapper, ["wraps_all"]),
    (lambda one: one.upload == "form", ["upload_elsewhere", "upload_filename", "upload_url"]),
    # The status that replaces 409 for a late cancel replaces it everywhere.
    (lambda one: not one.processing_looks or one.late_cancel_status != _CONFLICT, ["processing_status"]),
    (lambda one: one.paging != "page", ["page_name", "size_name", "first_page"]),
    (lambda one: one.list_empty, ["list_delay_seconds"]),
    (lambda one: one.cancel == "delete" or not one.delete, ["deleted_status", "gone_status"]),
    (lambda one: one.results not in ("redirect", "url"), ["results_elsewhere"]),
    (lambda one: one.results != "url", ["results_url"]),
    (lambda one: one.results == "batch" or one.results_form != "lines", ["results_gzip"]),
    (lambda one: one.cancel == "delete", ["cancel_method"]),
)
