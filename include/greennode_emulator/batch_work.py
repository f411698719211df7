"""One batch, one step at a time: validate, answer a few lines, close the files, end.

A step is a short stretch of work for a thread. It takes the clock as an argument and leaves the store at a
point from which the next step, of this process or another, goes on.
"""

import os
import random
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import msgspec

from greennode_emulator.answers import answer_request
from greennode_emulator.chat_request import decode_chat_request
from greennode_emulator.dialects import Dialect
from greennode_emulator.ledger import Ledger
from greennode_emulator.records import TERMINAL, BatchRecord, FileRecord, LineProblem, Phase, Purpose
from greennode_emulator.refusals import RefusedError
from greennode_emulator.request_lines import RequestLine, Scan, scan_file
from greennode_emulator.settings import Settings
from greennode_emulator.store import Store
from greennode_emulator.timeline import lines_due, pause_seconds, phase_ends

# About 20 ms of work: short enough to stop for a cancel or a shutdown.
LINES_A_STEP = 1000

_lines = msgspec.json.Decoder(RequestLine)
_encoder = msgspec.json.Encoder()


def input_name(batch_id: str) -> str:
    """A batch's own link to its input, so that deleting the file does not pull it from under the batch."""
    return f"{batch_id}.input"


def result_file_id(batch_id: str, kind: str) -> str:
    """The id of a result file; the same after a restart."""
    return f"file-{blake2b(f'{kind} {batch_id}'.encode(), digest_size=12).hexdigest()}"


@dataclass
class _Chunk:
    """What one step adds to a batch."""

    output: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    billed: list[str] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0


class BatchWork:
    """The work on one batch. Holds the byte offsets and the order of its lines, never the lines."""

    def __init__(self, batch_id: str, *, store: Store, ledger: Ledger, dialect: Dialect, settings: Settings) -> None:
        self._id = batch_id
        self._store = store
        self._ledger = ledger
        self._dialect = dialect
        self._settings = settings

    def step(self, now: float) -> float | None:
        """Do what is due; the seconds to rest before the next step, None where the batch has ended."""
        batch = self._store.batches.get(self._id)
        if batch is None or batch.phase in TERMINAL:
            return None
        if batch.phase is Phase.IN_PROGRESS:
            wanted = min(lines_due(batch, now=now), batch.done + LINES_A_STEP)
            if wanted > batch.done:
                self._answer(batch, wanted, now)
                return 0.0
        elif batch.phase is Phase.VALIDATING:
            _ = self._scan
        if now < phase_ends(batch):
            return min(pause_seconds(batch), phase_ends(batch) - now)
        return self._leave(batch.phase, now)

    def fail(self, message: str, now: float) -> None:
        """End the batch because the emulator itself broke down."""
        self._store.batches.update(
            self._id,
            lambda batch: msgspec.structs.replace(
                batch.enter(Phase.FAILED, now),
                problems=(*batch.problems, LineProblem(code="internal_error", message=message)),
            ),
        )

    @cached_property
    def _scan(self) -> Scan:
        batch = self._store.batches.get(self._id)
        assert batch is not None
        return scan_file(
            self._input, endpoint=batch.endpoint, models=self._settings.models, limits=self._settings.limits
        )

    @cached_property
    def _order(self) -> "array[int]":
        """Answers come in another order than the requests, the same order after a restart."""
        order = array("L", range(self._scan.total))
        random.Random(self._id).shuffle(order)  # noqa: S311 - an order, not a secret
        return order

    @property
    def _input(self) -> Path:
        return self._store.path(input_name(self._id))

    def _leave(self, phase: Phase, now: float) -> float | None:
        """Enter the phase after this one, unless a cancel came first."""

        def change(batch: BatchRecord) -> BatchRecord:
            if batch.phase is not phase:
                return batch
            match phase:
                case Phase.VALIDATING if self._scan.problems:
                    return msgspec.structs.replace(
                        batch.enter(Phase.FAILED, now), problems=self._scan.problems, model=self._scan.model
                    )
                case Phase.VALIDATING:
                    return msgspec.structs.replace(
                        batch.enter(Phase.IN_PROGRESS, now), total=self._scan.total, model=self._scan.model
                    )
                case Phase.IN_PROGRESS:
                    return batch.enter(Phase.FINALIZING, now)
                case Phase.CANCELLING:
                    return self._publish(batch.enter(Phase.CANCELLED, now), now)
                case _:
                    return self._publish(batch.enter(Phase.COMPLETED, now), now)

        batch = self._store.batches.update(self._id, change)
        if batch is None or batch.phase in TERMINAL:
            self._input.unlink(missing_ok=True)
            return None
        return 0.0

    def _answer(self, batch: BatchRecord, wanted: int, now: float) -> None:
        """Answer lines up to `wanted`: write them, then commit how much of the files counts, and the bill."""
        chunk = _Chunk()
        starts = self._scan.starts
        with self._input.open("rb") as source:
            descriptor = source.fileno()
            for index in self._order[batch.done : wanted]:
                start = starts[index]
                self._answer_line(os.pread(descriptor, starts[index + 1] - start, start), chunk, int(now))
        output_bytes = self._write("output", batch.output_bytes, chunk.output)
        error_bytes = self._write("error", batch.error_bytes, chunk.errors)

        def change(current: BatchRecord) -> BatchRecord:
            return msgspec.structs.replace(
                current,
                completed=current.completed + len(chunk.output),
                failed=current.failed + len(chunk.errors),
                output_bytes=output_bytes,
                error_bytes=error_bytes,
                prompt_tokens=current.prompt_tokens + chunk.prompt_tokens,
                completion_tokens=current.completion_tokens + chunk.completion_tokens,
            )

        with self._store.transaction():
            if self._store.batches.update(self._id, change) is not None:
                self._ledger.bill(
                    chunk.billed,
                    prompt_tokens=chunk.prompt_tokens,
                    completion_tokens=chunk.completion_tokens,
                )

    def _answer_line(self, text: bytes, chunk: _Chunk, created: int) -> None:
        line = _lines.decode(text)
        name = blake2b(f"{self._id} {line.custom_id}".encode(), digest_size=12).hexdigest()
        try:
            request = decode_chat_request(line.body)
            answer = answer_request(request)
        except RefusedError as refusal:
            reply = self._dialect.error_reply(refusal)
            chunk.errors.append(_encoder.encode(self._dialect.result_line(name, line.custom_id, refusal.status, reply)))
            return
        reply = self._dialect.chat_reply(request, answer, f"chatcmpl-{name}", created)
        chunk.output.append(_encoder.encode(self._dialect.result_line(name, line.custom_id, 200, reply)))
        chunk.billed.append(line.custom_id)
        chunk.prompt_tokens += answer.prompt_tokens
        chunk.completion_tokens += answer.completion_tokens

    def _write(self, kind: str, committed: int, lines: list[bytes]) -> int:
        """Add lines to a result file, after what is committed; what a killed process wrote beyond goes."""
        if not lines:
            return committed
        with self._store.path(result_file_id(self._id, kind)).open("ab") as file:
            file.truncate(committed)
            file.write(b"\n".join(lines) + b"\n")
            return file.tell()

    def _publish(self, batch: BatchRecord, now: float) -> BatchRecord:
        """Make the result files visible, each only if it holds something."""
        sizes: Mapping[str, int] = {"output": batch.output_bytes, "error": batch.error_bytes}
        ids: dict[str, str | None] = {}
        for kind, size in sizes.items():
            ids[kind] = result_file_id(self._id, kind) if size else None
            if size:
                os.truncate(self._store.path(result_file_id(self._id, kind)), size)
                self._store.files.add(
                    FileRecord(
                        id=result_file_id(self._id, kind),
                        filename=f"{batch.id}_{kind}.jsonl",
                        purpose=Purpose.OUTPUT,
                        bytes=size,
                        created_at=now,
                    )
                )
        return msgspec.structs.replace(batch, output_file_id=ids["output"], error_file_id=ids["error"])
