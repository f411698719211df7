"""Faults of batches: they strike the next batches that are created and stay with them, over restarts too."""

from typing import Literal

import msgspec

from greennode_emulator.faults.fault import Fault, HttpStatus, Positive, Seconds, Share, Whole


class BatchFault(Fault, frozen=True, kw_only=True):
    """A fault of a batch."""


class Stuck(BatchFault, frozen=True, kw_only=True):
    """Stays in a status for `seconds` (null: until it is cancelled); in progress, with `fraction` of the lines done."""

    status: Literal["validating", "in_progress", "finalizing"] = "in_progress"
    seconds: Seconds | None = None
    fraction: Share = 1.0


class EndsEarly(BatchFault, frozen=True, kw_only=True):
    """Ends when `fraction` of the lines is done; `listed`: the error file lists the others, each with a code."""

    fraction: Share = 0.5
    listed: bool = False


class Expired(EndsEarly, frozen=True, kw_only=True):
    """The window expires half-way."""

    listed: bool = True


class Cancelled(EndsEarly, frozen=True, kw_only=True):
    """The provider cancels it half-way."""


class Failed(EndsEarly, frozen=True, kw_only=True):
    """Fails with a code; with fraction 0 before it starts, whatever its file is like."""

    fraction: Share = 0.0
    code: str = "token_limit_exceeded"
    message: str = "Enqueued token limit reached. Please try again once some in-progress batches have been completed."


class EnqueuedLimit(BatchFault, frozen=True, kw_only=True):
    """A batch is refused if its prompt tokens and those of all batches that have not ended are more than `tokens`.

    `at`: the create is refused with `status`, or the batch fails before it starts. `named`: whether the message has the
    limit. Only batches that this fault has struck are counted.
    """

    count: Positive | None = None
    tokens: Positive
    at: Literal["create", "batch"] = "batch"
    named: bool = True
    status: HttpStatus = 429
    code: str = "token_limit_exceeded"


class RestRefused(BatchFault, frozen=True, kw_only=True):
    """Every line after `fraction` of them is refused with `status`."""

    fraction: Share = 0.0
    status: HttpStatus = 500
    code: str | None = None
    message: str = "The request could not be processed."


class AllFailed(RestRefused, frozen=True, kw_only=True):
    """Every line is refused, and the batch, which has only an error file, ends as `end` says."""

    end: Literal["completed", "failed"] = "completed"


class CreditOut(RestRefused, frozen=True, kw_only=True):
    """Credit runs out half-way."""

    fraction: Share = 0.5
    status: HttpStatus = 402
    code: str | None = "insufficient_credit"
    message: str = "Insufficient credit: all models are disabled."


class ModelDisabled(RestRefused, frozen=True, kw_only=True):
    """The model is disabled (403) or retired (404) before the first line."""

    status: HttpStatus = 403
    code: str | None = "model_disabled"
    message: str = "The model is disabled."


class UnknownStatus(BatchFault, frozen=True, kw_only=True):
    """Shows an unknown status word for as long as a status lasts; as the last status, permanently."""

    word: str = "PAUSED_BY_OPERATOR"
    during: Literal["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelled"] = (
        "in_progress"
    )


class Counts(BatchFault, frozen=True, kw_only=True):
    """Counts that are 0/0, null, do not add up, or count refused lines as completed."""

    show: Literal["zero", "null", "wrong", "failed_as_completed"] = "zero"


class IdsEarly(BatchFault, frozen=True, kw_only=True):
    """The ids of both result files show from the start; the files return 404 until `seconds` after the end."""

    seconds: Seconds = 0


class EmptyIds(BatchFault, frozen=True, kw_only=True):
    """The id of a missing file is "" instead of null."""


class EmptyErrorFile(BatchFault, frozen=True, kw_only=True):
    """There is an error file, of zero bytes."""


class FileErrorLine(BatchFault, frozen=True, kw_only=True):
    """The error file begins with a line for the whole file, which has no custom_id."""

    code: str = "partial_failure"
    message: str = "Some requests of the file could not be processed."


class Bom(BatchFault, frozen=True, kw_only=True):
    """Both result files begin with a byte order mark."""


class Utf16(BatchFault, frozen=True, kw_only=True):
    """Both result files are UTF-16, little-endian, with a byte order mark."""


class Crlf(BatchFault, frozen=True, kw_only=True):
    r"""Lines of both result files end with \r\n."""


class NoFinalNewline(BatchFault, frozen=True, kw_only=True):
    """The last line of both result files has no line end."""


class Forgotten(BatchFault, frozen=True, kw_only=True):
    """404 permanently, and not in the list, after so many seconds and reads; still answered, and billed."""

    after_seconds: Seconds = 0
    after_looks: Whole = 0


class NotFound(BatchFault, frozen=True, kw_only=True):
    """404 for `looks` reads after the first `after_looks`."""

    looks: Whole = 1
    after_looks: Whole = 0


class LateInList(BatchFault, frozen=True, kw_only=True):
    """Not in the list until so many seconds after its creation."""

    seconds: Seconds = 1.0


class SwappedFile(BatchFault, frozen=True, kw_only=True):
    """A gateway makes a rewritten copy of the input file and creates the batch from that.

    The copy stays as one more file. `metadata`: whether the batch keeps the metadata that was sent.
    """

    metadata: bool = True


class RepeatedCreate(BatchFault, frozen=True, kw_only=True):
    """A gateway repeats the create `times` more times: as many more batches of the same file, which all run and bill.

    The reply shows the `first` of them or the `last`.
    """

    times: Positive = 1
    reply: Literal["first", "last"] = "first"


class LocalTimes(BatchFault, frozen=True, kw_only=True):
    """The batch's times are local, without an offset, as "2026-11-30 15:04:05"; `offset_hours` ahead of UTC."""

    offset_hours: float = 7.0


class LineShape(BatchFault, frozen=True, kw_only=True):
    """The lines of both result files have another shape.

    `camel_case`: the names of the line and its response; `moves`: values by dotted paths, as
    {"response.body": "output"}; `wrapped`: the field that holds the line; `sealed`: no client can read it.
    """

    camel_case: bool = False
    moves: dict[str, str] = msgspec.field(default_factory=dict)
    wrapped: str | None = None
    sealed: bool = False


AnyBatchFault = (
    Stuck | Expired | Cancelled | Failed | EnqueuedLimit | AllFailed | CreditOut | ModelDisabled | UnknownStatus
    | Counts | IdsEarly | EmptyIds | EmptyErrorFile | FileErrorLine | Bom | Utf16 | Crlf | NoFinalNewline | Forgotten
    | NotFound | LateInList | SwappedFile | RepeatedCreate | LocalTimes | LineShape
)  # fmt: skip
