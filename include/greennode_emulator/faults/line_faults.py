"""Line faults: `rate` and `count` apply to the lines of one file; `batches` says how many batches they strike.

Which lines are struck is a function of the seed and the file's bytes. The comment above a group says what is billed.
"""

from typing import Literal

from greennode_emulator.faults.fault import Fault, HttpStatus, Positive


class LineFault(Fault, frozen=True, kw_only=True):
    """A fault of some lines of a result file."""

    count: Positive | None = None
    batches: Positive | None = None


# The request was answered, and is billed once; the fault is in its line.


class Missing(LineFault, frozen=True, kw_only=True):
    """The line is in neither file."""


class Duplicate(LineFault, frozen=True, kw_only=True):
    """There are two lines: the same twice, or one of them an error."""

    order: Literal["same", "failure_first", "success_first"] = "same"


class UnknownId(LineFault, frozen=True, kw_only=True):
    """A line with a custom_id that was never sent, beside the line, or `instead` of it."""

    instead: bool = False


class NotJson(LineFault, frozen=True, kw_only=True):
    """The line breaks off half-way, as after a crash of the writer."""


class Utf16Line(LineFault, frozen=True, kw_only=True):
    """The line is UTF-16 in a file that is UTF-8."""


class Separators(LineFault, frozen=True, kw_only=True):
    """The line contains U+2028, U+2029 and U+0085 unescaped; text answers contain them too."""


class WrongSchema(LineFault, frozen=True, kw_only=True):
    """The answer is JSON of another schema than the one asked for."""


class EmptyAnswer(LineFault, frozen=True, kw_only=True):
    """The answer is an empty text."""


class CutOff(LineFault, frozen=True, kw_only=True):
    """The answer stops half-way, at the token limit."""


class ContentFilter(LineFault, frozen=True, kw_only=True):
    """The answer is withheld by a content filter."""


# The request was not answered, and is not billed; its line is in the error file.


class LineError(LineFault, frozen=True, kw_only=True):
    """The request is refused with a status."""

    status: HttpStatus = 429
    code: str | None = "rate_limit_exceeded"
    message: str = "Too many requests."


class NullResponse(LineFault, frozen=True, kw_only=True):
    """`response` is null, and `error` an object or a text."""

    error: Literal["object", "text"] = "object"


class StatusZero(LineFault, frozen=True, kw_only=True):
    """`status_code` is 0 and there is no body; it counts as completed."""


AnyLineFault = (
    Missing | Duplicate | UnknownId | NotJson | Utf16Line | Separators | WrongSchema | EmptyAnswer | CutOff
    | ContentFilter | LineError | NullResponse | StatusZero
)  # fmt: skip
