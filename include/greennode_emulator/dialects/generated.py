"""An unknown server: a dialect made of choices, which a seed draws.

Each choice is known from some API; their combination is random. `generated:17` is the name of the dialect of
seed 17.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from greennode_emulator.dialects.choices import Choices, choices_of, describe
from greennode_emulator.dialects.creates import CreateBody, create_fields
from greennode_emulator.dialects.dialect import Dialect, Page, Paging, Reply, Route, SignedUpload, routes, uuid_from
from greennode_emulator.dialects.mistral import MISTRAL
from greennode_emulator.dialects.novita import NOVITA
from greennode_emulator.dialects.reply_shapes import (
    bare,
    batch_id,
    counts,
    deleted_reply,
    ended_at,
    epoch,
    error_line,
    file_id,
    iso,
    local,
    model_reply,
    number_from,
    problems,
    result_line,
)
from greennode_emulator.dialects.siliconflow import SILICONFLOW
from greennode_emulator.endpoints import Endpoint
from greennode_emulator.error_bodies import BODIES, error_object
from greennode_emulator.faults.batch_faults import SwappedFile
from greennode_emulator.faults.call_faults import Status
from greennode_emulator.faults.file_faults import FileProcessing
from greennode_emulator.faults.kinds import AnyFault
from greennode_emulator.records import BatchRecord, FileRecord, Phase
from greennode_emulator.refusals import RefusedError
from greennode_emulator.reshaping import camel, camel_fields, moved, put

PREFIX = "generated:"
_CONFLICT = 409

_UPPER = {phase: phase.value.upper() for phase in Phase}
_WORDS: Mapping[str, Mapping[Phase, str]] = {
    "openai": {phase: phase.value for phase in Phase},
    "upper": _UPPER | {Phase.FINALIZING: "IN_PROGRESS", Phase.CANCELLING: "CANCELING"},
    "novita": NOVITA.words,
    "mistral": MISTRAL.words,
    "siliconflow": SILICONFLOW.words,
    "job_state": {
        Phase.VALIDATING: "JOB_STATE_PENDING",
        Phase.IN_PROGRESS: "JOB_STATE_RUNNING",
        Phase.FINALIZING: "JOB_STATE_RUNNING",
        Phase.COMPLETED: "JOB_STATE_SUCCEEDED",
        Phase.FAILED: "JOB_STATE_FAILED",
        Phase.EXPIRED: "JOB_STATE_EXPIRED",
        Phase.CANCELLING: "JOB_STATE_CANCELLING",
        Phase.CANCELLED: "JOB_STATE_CANCELLED",
    },
}
_UNKNOWN_WORDS: Mapping[str, Mapping[Phase, str]] = {
    "": {},
    "middle": {Phase.IN_PROGRESS: "WARMING_UP"},
    "end": {Phase.COMPLETED: "finalised", Phase.EXPIRED: "PARTIAL"},
}
_TIMES: Mapping[str, Callable[[float | None], Any]] = {
    "epoch": epoch,
    "milliseconds": lambda moment: None if moment is None else int(moment * 1000),
    "text": lambda moment: None if moment is None else str(int(moment)),
    "iso": iso,
    "local": local,
}
_RATE_HEADERS = {
    "X-RateLimit-Limit-Minute": "6000",
    "X-RateLimit-Remaining-Minute": "5999",
    "X-RateLimit-Reset-Minute": "60",
}


def generated_dialect(seed: int) -> Dialect:
    """The dialect of a seed. Its `description` lists the unusual choices."""
    return dialect_of(choices_of(seed), name=f"{PREFIX}{seed}")


def dialect_of(choices: Choices, *, name: str) -> Dialect:
    """The dialect that makes these choices."""
    batches, files, lines = _Batches(choices), _Files(choices), _Lines(choices)
    own_file = _wrapper(choices, "file")
    own_batch = _wrapper(choices, "job")
    return Dialect(
        name=name,
        description=describe(choices),
        prefix=choices.prefix,
        routes=_routes(choices),
        headers=_RATE_HEADERS if choices.rate_headers else {},
        key_header=choices.key_header,
        faults=_faults(choices),
        upload_purposes=frozenset({choices.purpose}) if choices.purpose else frozenset(),
        file_id=_ID_MAKERS[choices.file_id](file_id),
        file_reply=files.reply,
        upload_reply=own_file,
        file_get_reply=own_file if choices.wraps_all else bare,
        signed_upload=files.signed_upload,
        line_form=cast("Any", choices.line_form),
        content=cast("Any", {"redirect": "redirect", "url": "url"}.get(choices.results, "bytes")),
        content_elsewhere=choices.results_elsewhere,
        content_url=files.url,
        content_gzip=cast("Any", choices.results_gzip),
        content_form=cast("Any", choices.results_form),
        create_body=batches.create_body,
        create_status=choices.create_status,
        batch_id=_ID_MAKERS[choices.batch_id](batch_id),
        words={**_WORDS[choices.words], **_UNKNOWN_WORDS[choices.unknown_word]},
        batch_reply=batches.reply,
        create_reply=own_batch,
        get_reply=own_batch if choices.wraps_all else bare,
        ids_early=choices.ids_early,
        paging=_paging(choices),
        list_delay_seconds=choices.list_delay_seconds,
        list_reply=batches.page,
        file_list_reply=files.page,
        model_list_reply=lambda page: {"object": "list", "data": page.items},
        model_reply=model_reply,
        deleted_status=choices.deleted_status,
        deleted_reply=deleted_reply if choices.deleted_status != _NO_CONTENT else lambda _kind, _name: None,
        gone_status=choices.gone_status,
        error_reply=error_object if choices.errors == "error" else BODIES[choices.errors],
        statuses={_CONFLICT: choices.late_cancel_status},
        result_line=lines.result,
        error_line=lines.error,
        shown_line=lines.shown,
    )


_NO_CONTENT = 204
_Maker = Callable[[str], str]
_ID_MAKERS: Mapping[str, Callable[[_Maker], _Maker]] = {
    "prefixed": lambda usual: usual,
    "uuid": lambda _usual: uuid_from,
    "integer": lambda _usual: number_from,
    # Gateways make such ids from an id and everything that they have to remember.
    "base64": lambda usual: lambda text: base64.urlsafe_b64encode(f"gateway:{text}:{usual(text)}".encode()).decode(),
}


def _routes(choices: Choices) -> Mapping[Endpoint, Route]:
    files, batches = choices.files_path, choices.batches_path
    moved_to: dict[Endpoint, Route | None] = {
        Endpoint.UPLOAD_FILE: ("POST", files + choices.upload_suffix),
        Endpoint.LIST_FILES: ("GET", files),
        Endpoint.GET_FILE: ("GET", f"{files}/{{id}}"),
        Endpoint.DELETE_FILE: ("DELETE", f"{files}/{{id}}"),
        Endpoint.FILE_CONTENT: ("GET", f"{files}/{{id}}/content"),
        Endpoint.CREATE_BATCH: ("POST", batches),
        Endpoint.LIST_BATCHES: ("GET", batches),
        Endpoint.GET_BATCH: ("GET", f"{batches}/{{id}}"),
        Endpoint.CANCEL_BATCH: (choices.cancel_method, f"{batches}/{{id}}/cancel"),
    }
    if choices.upload == "signed_commit":
        moved_to[Endpoint.COMMIT_FILE] = ("POST", f"{files}/{{id}}/complete")
    if choices.cancel == "delete":
        moved_to[Endpoint.CANCEL_BATCH] = ("DELETE", f"{batches}/{{id}}")
    elif choices.delete:
        moved_to[Endpoint.DELETE_BATCH] = ("DELETE", f"{batches}/{{id}}")
    if choices.results == "batch":
        moved_to[Endpoint.FILE_CONTENT] = None
        moved_to[Endpoint.BATCH_RESULTS] = ("GET", f"{batches}/{{id}}/results")
    if choices.models == "missing":
        moved_to[Endpoint.LIST_MODELS] = moved_to[Endpoint.GET_MODEL] = None
    return routes(moved_to)


def _faults(choices: Choices) -> tuple[AnyFault, ...]:
    """Behaviour that a server of this kind always shows, beside its replies."""
    faults: list[AnyFault] = []
    if choices.processing_looks:
        # The upload itself does not count as a read.
        looks, status = choices.processing_looks, choices.processing_status
        faults.append(FileProcessing(looks=looks, status=status, code="PROCESSING"))
    if choices.models == "broken":
        faults.append(Status(endpoint=Endpoint.LIST_MODELS, status=500, message="Internal server error"))
    if choices.gateway == "swaps":
        faults.append(SwappedFile(metadata=choices.metadata))
    return tuple(faults)


def _paging(choices: Choices) -> Paging:
    show = "nothing" if choices.list_empty else "all"
    if choices.paging != "page":
        return Paging(style=cast("Any", choices.paging), show=cast("Any", show))
    return Paging(
        style="page",
        page=choices.page_name,
        size=choices.size_name,
        first=choices.first_page,
        show=cast("Any", show),
    )


def _wrapper(choices: Choices, own: str) -> Callable[[Any], Reply]:
    """How a reply is wrapped; `own`: the field for this kind of reply, if each kind has one."""
    match choices.wrapper:
        case "":
            return bare
        case "envelope":
            return lambda reply: {"code": 0, "message": "success", "data": reply}
        case "own":
            return lambda reply: {own: reply}
        case field:
            return lambda reply: {field: reply}


def _shown_id(style: str, name: str | None) -> str | int | None:
    return int(name) if name and style == "integer" else name


@dataclass(frozen=True)
class _Files:
    choices: Choices

    @property
    def signed_upload(self) -> SignedUpload | None:
        choices = self.choices
        if choices.upload == "form":
            return None
        return SignedUpload(
            filename=_named(choices, choices.upload_filename),
            url=_named(choices, choices.upload_url),
            elsewhere=choices.upload_elsewhere,
            commit=choices.upload == "signed_commit",
        )

    def reply(self, record: FileRecord) -> Reply:
        choices = self.choices
        status = record.status.value
        reply = {
            choices.file_id_name: _shown_id(choices.file_id, record.id),
            "filename": record.filename,
            "bytes": record.bytes,
            "purpose": choices.purpose,
            "created_at": _TIMES[choices.times](record.created_at),
            "status": status.upper() if choices.file_status == "upper" else status,
        }
        if choices.file_status == "none":
            del reply["status"]
        return _cased(choices, reply)

    def page(self, page: Page) -> Any:
        return _page(self.choices, page)

    def url(self, url: str) -> Reply:
        reply: Reply = {}
        put(reply, _named(self.choices, self.choices.results_url), url)
        return reply


@dataclass(frozen=True)
class _Batches:
    choices: Choices

    @property
    def create_body(self) -> type[CreateBody]:
        choices = self.choices

        def name(of: str) -> str:
            return _named(choices, of)

        return create_fields(
            input_file=name(choices.input_file),
            as_list=choices.input_file == "input_files",
            endpoint=name("endpoint") if choices.endpoint else None,
            window=name("completion_window") if choices.window else None,
            metadata="metadata" if choices.metadata else None,
            model="model" if choices.model_in_create else None,
        )

    def reply(self, batch: BatchRecord, word: str) -> Reply:
        choices = self.choices
        time = _TIMES[choices.times]
        source = _shown_id(choices.file_id, batch.input_file_id)
        reply: Reply = {
            choices.batch_id_name: _shown_id(choices.batch_id, batch.id),
            choices.status_name: word,
            choices.input_file: [source] if choices.input_file == "input_files" else source,
            "model": batch.model,
            "errors": problems(batch),
            "created_at": time(batch.created_at),
            "completed_at": time(ended_at(batch)),
            **({"metadata": batch.metadata} if choices.metadata else {}),
            **self._counts(batch),
        }
        for field, found in ((choices.output_name, batch.output_file_id), (choices.error_name, batch.error_file_id)):
            if found or choices.none_is != "absent":
                nothing = "" if choices.none_is == "empty" else None
                reply[field] = _shown_id(choices.file_id, found) if found else nothing
        return _cased(choices, reply)

    def _counts(self, batch: BatchRecord) -> Reply:
        found = counts(batch)
        match self.choices.counts:
            case "none":
                return {}
            case "flat":
                return found or {}
            case "null":
                return {"request_counts": None}
            case "zero" if found is not None and not batch.is_over:
                return {"request_counts": dict.fromkeys(found, 0)}
            case _:
                return {"request_counts": found}

    def page(self, page: Page) -> Any:
        return _page(self.choices, page)


@dataclass(frozen=True)
class _Lines:
    choices: Choices

    def result(self, name: str, custom_id: str, body: Reply) -> Reply:
        line = result_line(name, custom_id, self._answer(body))
        return line if self.choices.response == "wrapped" else {**line, "response": line["response"]["body"]}

    def error(self, name: str, custom_id: str, refusal: RefusedError) -> Reply:
        line = error_line(name, custom_id, refusal)
        if self.choices.error_lines == "response":
            return line
        if self.choices.error_lines == "text":
            return {**line, "response": None, "error": f"{refusal.status}: {refusal.message}"}
        return {**line, "response": None, "error": {"code": refusal.status, "message": refusal.message}}

    def shown(self, line: Reply) -> Reply:
        choices = self.choices
        shown = moved(line, {"custom_id": choices.line_id, "response": choices.line_answer})
        if choices.camel_lines:
            shown = camel_fields(shown, depth=2 if choices.response == "wrapped" else 1)
        return {choices.line_wrapper: shown} if choices.line_wrapper else shown

    def _answer(self, reply: Reply) -> Reply:
        """The answer; its first choice may be the only one, or have its content in parts."""
        first, *others = reply["choices"]
        if self.choices.answer == "object":
            return {**reply, "choices": first}
        content = first["message"].get("content")
        if self.choices.answer == "parts" and content is not None:
            message = {**first["message"], "content": [{"type": "text", "text": content}]}
            return {**reply, "choices": [{**first, "message": message}, *others]}
        return reply


def _named(choices: Choices, name: str) -> str:
    """A name, or a dotted path, in the server's case."""
    return camel(name) if choices.camel_case else name


def _cased(choices: Choices, reply: Reply) -> Reply:
    """A reply with its names in the server's case, except what clients put into it."""
    if not choices.camel_case:
        return reply
    return camel_fields({name: _inner(name, value) for name, value in reply.items()})


def _inner(name: str, value: Any) -> Any:
    return camel_fields(value) if isinstance(value, dict) and name != "metadata" else value


def _page(choices: Choices, page: Page) -> Any:
    reply: Any = page.items
    if choices.list_items:
        reply = {choices.list_items: page.items, **_turning(choices, page)}
    return _wrapper(choices, "")(reply) if choices.wraps_all and choices.wrapper != "own" else reply


def _turning(choices: Choices, page: Page) -> Reply:
    """What a page shows about the other pages."""
    match choices.paging:
        case "cursor":
            return _cased(choices, {"has_more": page.has_more})
        case "page":
            pages = -(-page.total // page.size) if page.size else 0
            return {
                choices.page_name: page.number,
                choices.size_name: page.size,
                "total": page.total,
                "totalPage": pages,
            }
        case _:
            return {}
