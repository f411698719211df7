"""One batch, one step at a time: validate, answer a few lines, close the files, end.

A step is a short piece of work for a thread. It takes the clock as an argument and leaves the store in a state from
which the next step, of this process or another, can continue.
"""

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from greennode_emulator.dialects.dialect import Dialect
from greennode_emulator.faults.batch_faults import AllFailed, Cancelled, EndsEarly, Failed
from greennode_emulator.faults.line_plan import plan_lines
from greennode_emulator.input_lines import Scan, scan_file
from greennode_emulator.ledger import Ledger
from greennode_emulator.models import Model
from greennode_emulator.output_lines import LineWriter
from greennode_emulator.records import TERMINAL, BatchRecord, LineProblem, Phase
from greennode_emulator.result_files import ResultFiles
from greennode_emulator.settings import Settings
from greennode_emulator.store import Store
from greennode_emulator.timeline import lines_due, pause_seconds, phase_ends


def input_name(batch_id: str) -> str:
    """A link to the input that belongs to the batch, so that deleting the file does not remove it under the batch."""
    return f"{batch_id}.input"


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What all batches of an emulator share."""

    store: Store
    ledger: Ledger
    dialect: Dialect
    settings: Settings
    model: Model


class BatchWork:
    """The work on one batch. Holds the byte offsets and the order of its lines, never the lines."""

    def __init__(self, batch_id: str, shop: Shop) -> None:
        self._id = batch_id
        self._shop = shop
        self._store = shop.store

    def step(self, now: float) -> float | None:
        """Do what is due; returns the seconds until the next step, or None if the batch has ended."""
        batch = self._store.batches.get(self._id)
        if batch is None or batch.is_over:
            return None
        if batch.phase is Phase.IN_PROGRESS:
            wanted = min(lines_due(batch, now=now), batch.done + self._shop.model.lines_a_step)
            if wanted > batch.done:
                self._answer(batch, wanted, now)
                return 0.0
        elif batch.phase is Phase.VALIDATING:
            _ = self._scan
        if now < phase_ends(batch):
            return min(pause_seconds(batch), phase_ends(batch) - now)
        return self._leave(batch.phase, now)

    def fail(self, message: str, now: float) -> None:
        """End the batch because the emulator itself failed."""
        problem = LineProblem(code="internal_error", message=message)
        self._store.batches.update(self._id, lambda batch: _failed(batch, now, (*batch.problems, problem)))

    @cached_property
    def _scan(self) -> Scan:
        batch = self._batch
        settings = self._shop.settings
        return scan_file(
            self._input,
            endpoint=batch.endpoint,
            models=self._shop.model.served(),
            limits=settings.limits,
            form=self._shop.dialect.line_form,
            default_model=batch.model,
        )

    @cached_property
    def _order(self) -> "array[int]":
        """The order of the answers, which differs from that of the requests; the same for the same file."""
        order = array("L", range(self._scan.total))
        random.Random(self._scan.checksum).shuffle(order)  # noqa: S311 - an order, not a secret
        return order

    @cached_property
    def _writer(self) -> LineWriter:
        batch = self._batch
        return LineWriter(
            batch,
            input_path=self._input,
            model=self._shop.model,
            dialect=self._shop.dialect,
            plan=plan_lines(batch.line_faults, lines=batch.total, checksum=self._scan.checksum),
        )

    @cached_property
    def _files(self) -> ResultFiles:
        return ResultFiles(self._batch, store=self._store, dialect=self._shop.dialect)

    @property
    def _batch(self) -> BatchRecord:
        batch = self._store.batches.get(self._id)
        assert batch is not None
        return batch

    @property
    def _input(self) -> Path:
        return self._store.path(input_name(self._id))

    def _leave(self, phase: Phase, now: float) -> float | None:
        """Enter the next phase, unless a cancel came first."""

        def change(batch: BatchRecord) -> BatchRecord:
            return self._next(batch, now) if batch.phase is phase else batch

        batch = self._store.batches.update(self._id, change)
        if batch is None or batch.phase in TERMINAL:
            self._input.unlink(missing_ok=True)
            return None
        return 0.0

    def _next(self, batch: BatchRecord, now: float) -> BatchRecord:
        """The batch in its next phase."""
        early = batch.fault(EndsEarly)
        match batch.phase:
            case Phase.VALIDATING if isinstance(early, Failed) and early.fraction == 0:
                after = _failed(batch, now, (LineProblem(code=early.code, message=early.message),))
            case Phase.VALIDATING if self._scan.problems:
                after = msgspec.structs.replace(_failed(batch, now, self._scan.problems), model=self._scan.model)
            case Phase.VALIDATING:
                started = batch.enter(Phase.IN_PROGRESS, now)
                after = msgspec.structs.replace(started, total=self._scan.total, model=self._scan.model)
            case Phase.IN_PROGRESS if early is not None:
                after = self._cut_short(batch, early, now)
            case Phase.IN_PROGRESS:
                after = batch.enter(Phase.FINALIZING, now)
            case Phase.CANCELLING:
                after = self._files.publish(batch.enter(Phase.CANCELLED, now), now)
            case _:
                all_failed = batch.fault(AllFailed)
                end = Phase.COMPLETED if all_failed is None else Phase(all_failed.end)
                after = self._files.publish(batch.enter(end, now), now)
        return after

    def _cut_short(self, batch: BatchRecord, early: EndsEarly, now: float) -> BatchRecord:
        """The end that a fault causes midway; lines that were not run may be listed as such."""
        problems = batch.problems
        if isinstance(early, Failed):
            phase = Phase.FAILED
            problems = (*problems, LineProblem(code=early.code, message=early.message))
        else:
            phase = Phase.CANCELLED if isinstance(early, Cancelled) else Phase.EXPIRED
        error_bytes = batch.error_bytes
        if early.listed:
            rest = [(start, end) for _, start, end in self._spans(batch.done, batch.total)]
            error_bytes = self._files.write("error", error_bytes, self._writer.unfinished(rest, phase))
        ended = msgspec.structs.replace(batch.enter(phase, now), problems=problems, error_bytes=error_bytes)
        return self._files.publish(ended, now)

    def _spans(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """The offsets of the lines with the numbers `first` up to `last`."""
        starts = self._scan.starts
        for index in self._order[first:last]:
            yield index, starts[index], starts[index + 1]

    def _answer(self, batch: BatchRecord, wanted: int, now: float) -> None:
        """Answer lines up to `wanted`: write them, then commit how much of the files is valid, and the bill."""
        chunk = self._writer.answer(self._spans(batch.done, wanted), first=batch.done, now=now)
        output_bytes = self._files.write("output", batch.output_bytes, chunk.output)
        error_bytes = self._files.write("error", batch.error_bytes, chunk.errors)

        def change(current: BatchRecord) -> BatchRecord:
            return msgspec.structs.replace(
                current,
                done=wanted,
                completed=current.completed + chunk.completed,
                failed=current.failed + chunk.failed,
                output_bytes=output_bytes,
                error_bytes=error_bytes,
                prompt_tokens=current.prompt_tokens + chunk.prompt_tokens,
                completion_tokens=current.completion_tokens + chunk.completion_tokens,
            )

        with self._store.transaction():
            if self._store.batches.update(self._id, change) is not None:
                self._shop.ledger.bill(
                    self._id,
                    chunk.billed,
                    wasted=chunk.wasted,
                    prompt_tokens=chunk.prompt_tokens,
                    completion_tokens=chunk.completion_tokens,
                )


def _failed(batch: BatchRecord, now: float, problems: tuple[LineProblem, ...]) -> BatchRecord:
    return msgspec.structs.replace(batch.enter(Phase.FAILED, now), problems=problems)
