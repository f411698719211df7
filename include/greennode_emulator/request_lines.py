"""Is a batch file good? Codes and the first message are those that OpenAI and Azure are seen to give."""

from array import array
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from greennode_emulator.records import LineProblem
from greennode_emulator.settings import Limits

# A file that is wrong in every line is not reported line by line to the end.
MAX_PROBLEMS = 100


class _Head(msgspec.Struct):
    model: Annotated[str, msgspec.Meta(min_length=1)]


class _CheckedLine(msgspec.Struct):
    """`{"custom_id", "body"}`, with or without `method` and `url`."""

    custom_id: Annotated[str, msgspec.Meta(min_length=1)]
    body: _Head
    method: str = "POST"
    url: str | None = None


class RequestLine(msgspec.Struct):
    """A line that has passed the check, its body still as bytes."""

    custom_id: str
    body: msgspec.Raw


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What the check found. `starts` holds the byte offset of every line, and the file's end."""

    starts: "array[int]"
    model: str | None
    problems: tuple[LineProblem, ...]

    @property
    def total(self) -> int:
        """How many lines the file has."""
        return len(self.starts) - 1


def scan_file(path: Path, *, endpoint: str, models: Collection[str], limits: Limits) -> Scan:
    """Check a whole file. Holds one line, all custom_ids and eight bytes a line."""
    problems: list[LineProblem] = []
    starts = array("Q", [0])
    model: str | None = None
    seen: set[str] = set()
    decode = msgspec.json.Decoder(_CheckedLine).decode
    position = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            position += len(line)
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
                problem = _misfit(found, number, endpoint, model, seen)
                if problem is not None:
                    problems.append(problem)
                seen.add(found.custom_id)
            if len(problems) >= MAX_PROBLEMS:
                break
    if position == 0:
        problems.append(LineProblem(code="empty_file", message="The file holds no requests."))
    if model is not None and model not in models and not problems:
        message = f"The model '{model}' does not exist"
        problems.append(LineProblem(code="model_not_found", message=message, line=1, param="body.model"))
    return Scan(starts=starts, model=model, problems=tuple(problems))


def _misfit(line: _CheckedLine, number: int, endpoint: str, model: str, seen: Collection[str]) -> LineProblem | None:
    """What is wrong with a line that is complete, if anything."""
    if line.custom_id in seen:
        message = f"The custom_id '{line.custom_id}' is a duplicate of another request's."
        return LineProblem(code="duplicate_custom_id", message=message, line=number, param="custom_id")
    if line.body.model != model:
        message = f"The model '{line.body.model}' differs from the file's first, '{model}': one model a file."
        return LineProblem(code="model_mismatch", message=message, line=number, param="body.model")
    if line.url is not None and line.url != endpoint:
        message = f"The url '{line.url}' is not the batch's endpoint, '{endpoint}'."
        return LineProblem(code="url_mismatch", message=message, line=number, param="url")
    if line.method != "POST":
        message = f"The method '{line.method}' is not POST."
        return LineProblem(code="invalid_method", message=message, line=number, param="method")
    return None


def _undecodable(number: int, error: Exception) -> LineProblem:
    if isinstance(error, msgspec.ValidationError):
        text = str(error)
        param = text.split("`")[1] if "missing required field" in text else text.rpartition("$.")[2].strip("`")
        return LineProblem(code="invalid_request", message=text, line=number, param=param)
    return LineProblem(code="invalid_json_line", message="This line is not parseable as valid JSON.", line=number)


def _too_many(limits: Limits) -> LineProblem:
    return LineProblem(code="too_many_tasks", message=f"The file holds more than {limits.max_lines} requests.")
