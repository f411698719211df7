"""The bodies of errors, by name: dialects choose among them, and faults may request any."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from greennode_emulator.refusals import RefusedError

Shape = Literal[
    "dialect", "error", "error_text", "flat", "message", "detail", "detail_list", "data", "list", "coded", "json_text",
    "text", "html", "empty",
]  # fmt: skip


@dataclass(frozen=True)
class Page:
    """A body that is not JSON."""

    text: str
    media_type: str


Body = Any
"""What encodes as JSON, or a Page."""


def error_object(refusal: RefusedError) -> Body:
    """OpenAI's `{"error": {message, type, param, code}}`."""
    return {"error": flat(refusal)}


def flat(refusal: RefusedError) -> Body:
    """The same four fields at the top."""
    return {"message": refusal.message, "type": refusal.kind, "param": refusal.param, "code": refusal.code}


def _problem(refusal: RefusedError) -> Body:
    return {"code": refusal.code, "line": None, "message": refusal.message}


def _html(refusal: RefusedError) -> Page:
    phrase = HTTPStatus(refusal.status).phrase if refusal.status in set(HTTPStatus) else "Error"
    title = f"{refusal.status} {phrase}"
    return Page(
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
        "text/html",
    )


BODIES: Mapping[str, Callable[[RefusedError], Body]] = {
    "error": error_object,
    "error_text": lambda refusal: {"error": refusal.message},
    "flat": flat,
    "message": lambda refusal: {"message": refusal.message},
    "detail": lambda refusal: {"detail": refusal.message},
    "detail_list": lambda refusal: {
        "detail": [{"loc": ["body", refusal.param], "msg": refusal.message, "type": refusal.code or refusal.kind}]
    },
    "data": lambda refusal: {"data": [_problem(refusal)]},
    "list": lambda refusal: [{"message": refusal.message, "count": 1}],
    "coded": lambda refusal: {"code": 20000 + refusal.status, "message": refusal.message, "data": None},
    "json_text": lambda refusal: refusal.message,
    "text": lambda refusal: Page(refusal.message, "text/plain"),
    "html": _html,
    "empty": lambda _refusal: Page("", "text/plain"),
}
