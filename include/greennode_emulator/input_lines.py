"""Checks whether a batch file is valid. Codes and first messages are those of OpenAI and Azure."""

import json
from array import array
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from zlib import crc32

import msgspec

from greennode_emulator.records import LineProblem
from greennode_emulator.settings import Limits

# A file with an error in every line is not reported line by line to the end.
MAX_PROBLEMS = 100


LineForm = Literal["any", "bare", "full"]


class _Head(msgspec.Struct):
    model: Annotated[str, msgspec.Meta(min_length=1)]


class _HeadOrNone(msgspec.Struct):
    model: Annotated[str, msgspec.Meta(min_length=1)] | None = None


class _CheckedLine(msgspec.Struct):
    """`{"custom_id", "body"}`, with or without `method` and `url`."""

    custom_id: Annotated[str, msgspec.Meta(min_length=1)]
    body: _Head
    method: str | None = None
    url: str | None = None


class _CheckedLineOfModel(msgspec.Struct):
    """The same, if the batch names the model."""

    custom_id: Annotated[str, msgspec.Meta(min_length=1)]
    body: _HeadOrNone
    method: str | None = None
    url: str | None = None


class RequestLine(msgspec.Struct):
    """A line that has passed the check; its body is still bytes."""

    custom_id: str
    body: msgspec.Raw


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The findings of the check. `starts` holds the byte offset of every line, and the file's end."""

    starts: "array[int]"
    checksum: int
    model: str | None
    problems: tuple[LineProblem, ...]

    @property
    def total(self) -> int:
        """How many lines the file has."""
        return len(self.starts) - 1


def scan_file(
    path: Path,
    *,
    endpoint: str,
    models: Collection[str] | None,
    limits: Limits,
    form: LineForm = "any",
    default_model: str | None = None,
) -> Scan:
    """Check a whole file. Holds one line, all custom_ids and eight bytes a line. `models` None: any model will do."""
    problems: list[LineProblem] = []
    starts = array("Q", [0])
    model = default_model
    seen: set[str] = set()
    decode = _decoder(default_model)
    position = 0
    checksum = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            position += len(line)
            checksum = crc32(line, checksum)
            starts.append(position)
            if number > limits.max_lines:
                problems = [_too_many(limits)]
                break
            try:
                if not line.isascii():
                    line.decode()
                found = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                problems.append(_undecodable(number, error))
            else:
                model = model or found.body.model
                problem = _misfit(found, number, endpoint, model, seen) or _misform(found, number, form)
                if problem is not None:
                    problems.append(problem)
                seen.add(found.custom_id)
            if len(problems) >= MAX_PROBLEMS:
                break
    if position == 0:
        problems.append(LineProblem(code="empty_file", message="The file holds no requests."))
    if model is not None and models is not None and model not in models and not problems:
        message = f"The model '{model}' does not exist"
        problems.append(LineProblem(code="model_not_found", message=message, line=1, param="body.model"))
    return Scan(starts=starts, checksum=checksum, model=model, problems=tuple(problems))


def rewrite_lines(source: Path, target: Path) -> int:
    """Write the same lines with other spaces and escapes, as a gateway does; returns the number of bytes written."""
    with source.open("rb") as lines, target.open("wb") as copy:
        for line in lines:
            try:
                copy.write(json.dumps(msgspec.json.decode(line), separators=(" , ", " : ")).encode() + b"\n")
            except msgspec.DecodeError:
                copy.write(line)
        return copy.tell()


def _decoder(default_model: str | None) -> Callable[[bytes], _CheckedLine | _CheckedLineOfModel]:
    if default_model is None:
        return msgspec.json.Decoder(_CheckedLine).decode
    return msgspec.json.Decoder(_CheckedLineOfModel).decode


def _misfit(
    line: _CheckedLine | _CheckedLineOfModel, number: int, endpoint: str, model: str | None, seen: Collection[str]
) -> LineProblem | None:
    """What is wrong with a complete line, if anything."""
    if line.custom_id in seen:
        message = f"The custom_id '{line.custom_id}' is a duplicate of another request's."
        return LineProblem(code="duplicate_custom_id", message=message, line=number, param="custom_id")
    if line.body.model not in (None, model):
        message = f"The model '{line.body.model}' differs from the file's first, '{model}': one model a file."
        return LineProblem(code="model_mismatch", message=message, line=number, param="body.model")
    if line.url is not None and line.url != endpoint:
        message = f"The url '{line.url}' is not the batch's endpoint, '{endpoint}'."
        return LineProblem(code="url_mismatch", message=message, line=number, param="url")
    if line.method not in (None, "POST"):
        message = f"The method '{line.method}' is not POST."
        return LineProblem(code="invalid_method", message=message, line=number, param="method")
    return None


def _misform(line: _CheckedLine | _CheckedLineOfModel, number: int, form: LineForm) -> LineProblem | None:
    """A field that the dialect requires in a line and misses, or does not allow there."""
    for name, value in (("method", line.method), ("url", line.url)):
        if form == "full" and value is None:
            message = f"Missing required parameter: '{name}'."
            return LineProblem(code="missing_required_parameter", message=message, line=number, param=name)
        if form == "bare" and value is not None:
            return LineProblem(code="unknown_parameter", message=f"Unknown field: '{name}'.", line=number, param=name)
    return None


def _undecodable(number: int, error: Exception) -> LineProblem:
    if isinstance(error, msgspec.ValidationError):
        text = str(error)
        param = text.split("`")[1] if "missing required field" in text else text.rpartition("$.")[2].strip("`")
        return LineProblem(code="invalid_request", message=text, line=number, param=param)
    return LineProblem(code="invalid_json_line", message="This line is not parseable as valid JSON.", line=number)


def _too_many(limits: Limits) -> LineProblem:
    return LineProblem(code="too_many_tasks", message=f"The file holds more than {limits.max_lines} requests.")
