"""Files and batches as the emulator stores them, before a dialect gives them a form."""

from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from greennode_emulator.faults.batch_faults import AnyBatchFault, BatchFault
from greennode_emulator.faults.file_faults import AnyFileFault
from greennode_emulator.faults.line_faults import AnyLineFault

FaultT = TypeVar("FaultT", bound=BatchFault)


class Phase(StrEnum):
    """The state of a batch; a dialect may use other words."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


TERMINAL = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.EXPIRED, Phase.CANCELLED})


class Purpose(StrEnum):
    """The purpose of a file."""

    INPUT = "batch"
    OUTPUT = "batch_output"


class FileStatus(StrEnum):
    """The state of a file; a fault may show another."""

    AWAITING_UPLOAD = "awaiting_upload"
    UPLOADED = "uploaded"
    PROCESSING = "processing"
    PROCESSED = "processed"


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A file that clients can see, from `readable_at` on; its bytes are in the state folder under its id.

    `answers_of` is the batch whose output file it is.
    """

    id: str
    filename: str
    purpose: Purpose
    bytes: int
    created_at: float
    readable_at: float = 0.0
    status: FileStatus = FileStatus.PROCESSED
    answers_of: str | None = None
    faults: tuple[AnyFileFault, ...] = ()
    looks: int = 0


class LineProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a batch failed validation; `line` counts from 1, None for the whole file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A batch. `output_bytes` and `error_bytes` are how much of the two result files is committed.

    `repeat_of` is the batch whose create a gateway repeated.

    `completed` and `failed` are what clients see; `done` is the number of lines that are finished.
    """

    id: str
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, Any] | None
    created_at: float
    seconds: float
    phase: Phase = Phase.VALIDATING
    entered: dict[Phase, float] = {}
    problems: tuple[LineProblem, ...] = ()
    model: str | None = None
    input_bytes: int = 0
    total: int = 0
    completed: int = 0
    failed: int = 0
    done: int = 0
    repeat_of: str | None = None
    counts_hidden: bool = False
    output_bytes: int = 0
    error_bytes: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    enqueued_tokens: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    faults: tuple[AnyBatchFault, ...] = ()
    line_faults: tuple[AnyLineFault, ...] = ()
    looks: int = 0

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.phase in TERMINAL

    @property
    def result_bytes(self) -> dict[str, int]:
        """How much of each result file is committed, by its kind."""
        return {"output": self.output_bytes, "error": self.error_bytes}

    def fault(self, kind: type[FaultT]) -> FaultT | None:
        """Its fault of that kind, if it has one."""
        return next((fault for fault in self.faults if isinstance(fault, kind)), None)

    def enter(self, phase: Phase, now: float) -> "BatchRecord":
        """The same batch, in its next phase."""
        return msgspec.structs.replace(self, phase=phase, entered={**self.entered, phase: now})
