"""Request lines of a batch -> lines of its result files, and the bill for them."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from greennode_emulator.dialects.dialect import Dialect
from greennode_emulator.faults.batch_faults import FileErrorLine, LineShape, RestRefused
from greennode_emulator.faults.line_acts import altered, leaves_no_answer, refusal_of, written
from greennode_emulator.faults.line_faults import AnyLineFault, StatusZero
from greennode_emulator.input_lines import RequestLine
from greennode_emulator.models import Model
from greennode_emulator.records import BatchRecord, Phase
from greennode_emulator.refusals import RefusedError
from greennode_emulator.reshaping import camel_fields, moved, sealed

_lines = msgspec.json.Decoder(RequestLine)
_encoder = msgspec.json.Encoder()

_UNFINISHED = {
    Phase.EXPIRED: RefusedError(
        408, "This request could not be executed before the completion window expired.", code="batch_expired"
    ),
    Phase.CANCELLED: RefusedError(
        499, "This request was not executed: the batch was cancelled.", code="batch_cancelled"
    ),
    Phase.FAILED: RefusedError(500, "This request was not executed: the batch failed.", code="batch_failed"),
}


@dataclass
class Chunk:
    """What one step adds to a batch: lines, of which there may be more or fewer than requests, and a bill.

    `wasted`: the billed requests whose answer no client can use.
    """

    output: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    billed: list[str] = field(default_factory=list)
    wasted: set[str] = field(default_factory=set)
    completed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class LineWriter:
    """Answers the lines of one batch. `plan` has the faults of lines by their index in the file."""

    def __init__(
        self, batch: BatchRecord, *, input_path: Path, model: Model, dialect: Dialect, plan: Mapping[int, AnyLineFault]
    ) -> None:
        self._id = batch.id
        self._input = input_path
        self._model = model
        self._dialect = dialect
        self._plan = plan
        self._rest = batch.fault(RestRefused)
        self._refused_from = int(batch.total * self._rest.fraction) if self._rest else batch.total
        # Lines need not name the model if the batch does.
        self._model_name = None if batch.model is None else b'{"model":' + _encoder.encode(batch.model) + b","
        self._file_error = batch.fault(FileErrorLine)
        self._shape = batch.fault(LineShape)

    def answer(self, spans: Iterable[tuple[int, int, int]], *, first: int, now: float) -> Chunk:
        """The lines at (index, start, end), of which `first` were done before."""
        chunk = Chunk()
        if first == 0 and self._file_error is not None:
            error = {"code": self._file_error.code, "message": self._file_error.message}
            chunk.errors.append(
                _encoder.encode(self._shown({"id": None, "custom_id": None, "response": None, "error": error}))
            )
        asked: list[tuple[msgspec.Raw, str, int]] = []
        rows: list[tuple[str, str, AnyLineFault | None, RefusedError | None]] = []
        struck: set[str] = set()
        created = int(now)
        with self._input.open("rb") as source:
            descriptor = source.fileno()
            for position, (index, start, end) in enumerate(spans, start=first):
                line = _lines.decode(os.pread(descriptor, end - start, start))
                name = self._name(line.custom_id)
                fault = self._plan.get(index)
                refusal = self._refusal(position) or refusal_of(fault)
                rows.append((line.custom_id, name, fault, refusal))
                if refusal is None:
                    if fault is not None and leaves_no_answer(fault, line.body):
                        struck.add(line.custom_id)
                    asked.append((self._body(line.body), f"chatcmpl-{name}", created))
        replies = self._model.replies(asked)
        for custom_id, name, fault, refusal in rows:
            reply = next(replies) if refusal is None else refusal
            if isinstance(reply, RefusedError):
                self._add_refused(chunk, custom_id, name, fault, reply)
            else:
                self._add_answered(chunk, custom_id, name, fault, reply)
        chunk.wasted = struck.intersection(chunk.billed)
        return chunk

    def unfinished(self, spans: Iterable[tuple[int, int]], phase: Phase) -> list[bytes]:
        """The error lines of requests that the batch did not reach before its end."""
        refusal = _UNFINISHED[phase]
        error = {"code": refusal.code, "message": refusal.message}
        lines = []
        with self._input.open("rb") as source:
            for start, end in spans:
                custom_id = _lines.decode(os.pread(source.fileno(), end - start, start)).custom_id
                line = {"id": f"batch_req_{self._name(custom_id)}", "custom_id": custom_id, "response": None}
                lines.append(_encoder.encode(self._shown({**line, "error": error})))
        return lines

    def _add_answered(
        self, chunk: Chunk, custom_id: str, name: str, fault: AnyLineFault | None, reply: dict[str, Any]
    ) -> None:
        if fault is None:
            chunk.output.append(_encoder.encode(self._shown(self._dialect.result_line(name, custom_id, reply))))
        else:
            reply = altered(fault, reply)
            chunk.output.extend(written(fault, self._dialect.result_line(name, custom_id, reply), self._shown))
        usage = reply.get("usage") or {}
        chunk.completed += 1
        chunk.billed.append(custom_id)
        chunk.prompt_tokens += usage.get("prompt_tokens", 0)
        chunk.completion_tokens += usage.get("completion_tokens", 0)

    def _add_refused(
        self, chunk: Chunk, custom_id: str, name: str, fault: AnyLineFault | None, refusal: RefusedError
    ) -> None:
        line = self._dialect.error_line(name, custom_id, refusal)
        chunk.errors.extend(
            [_encoder.encode(self._shown(line))] if fault is None else written(fault, line, self._shown)
        )
        if isinstance(fault, StatusZero):
            chunk.completed += 1
        else:
            chunk.failed += 1

    def _shown(self, line: dict[str, Any]) -> dict[str, Any]:
        """The line as written to the file."""
        line = self._dialect.shown_line(line)
        shape = self._shape
        if shape is None:
            return line
        if shape.moves:
            line = moved(line, shape.moves)
        if shape.camel_case:
            line = camel_fields(line, depth=2)
        if shape.sealed:
            line = sealed(line)
        return line if shape.wrapped is None else {shape.wrapped: line}

    def _refusal(self, position: int) -> RefusedError | None:
        if self._rest is None or position < self._refused_from:
            return None
        return RefusedError(self._rest.status, self._rest.message, code=self._rest.code)

    def _body(self, body: msgspec.Raw) -> msgspec.Raw:
        if self._model_name is None or b'"model"' in bytes(body):
            return body
        return msgspec.Raw(self._model_name + bytes(body).lstrip()[1:])

    def _name(self, custom_id: str) -> str:
        return blake2b(f"{self._id} {custom_id}".encode(), digest_size=12).hexdigest()
