"""Files and batches as the emulator keeps them, before any dialect dresses them."""

from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """Where a batch stands; a dialect may use other words."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


TERMINAL = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED})


class Purpose(StrEnum):
    """What a file is for."""

    INPUT = "batch"
    OUTPUT = "batch_output"


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A file that clients can see; its bytes lie in the state folder under its id."""

    id: str
    filename: str
    purpose: Purpose
    bytes: int
    created_at: float


class LineProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a batch failed validation; `line` counts from 1, None for the whole file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A batch. `output_bytes` and `error_bytes` are how much of the two result files is committed."""

    id: str
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None
    created_at: float
    seconds: float
    phase: Phase = Phase.VALIDATING
    entered: dict[Phase, float] = {}
    problems: tuple[LineProblem, ...] = ()
    model: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    output_bytes: int = 0
    error_bytes: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None

    @property
    def done(self) -> int:
        """Lines answered so far, well or not."""
        return self.completed + self.failed

    def enter(self, phase: Phase, now: float) -> "BatchRecord":
        """The same batch, in its next phase."""
        return msgspec.structs.replace(self, phase=phase, entered={**self.entered, phase: now})
