"""HTTP replies and the reading of what requests carry."""

from typing import Any

import msgspec
from fastapi import Request, Response

from greennode_emulator.dialects import Dialect
from greennode_emulator.refusals import RefusedError

_encoder = msgspec.json.Encoder()


def json_reply(body: Any, *, status: int = 200) -> Response:
    """A JSON reply."""
    return Response(_encoder.encode(body), status_code=status, media_type="application/json")


def refusal_reply(refusal: RefusedError, dialect: Dialect) -> Response:
    """A refusal in the dialect's error shape."""
    return json_reply(dialect.error_reply(refusal), status=refusal.status)


def page_size(request: Request, *, default: int, most: int) -> int:
    """The `limit` of a listing."""
    text = request.query_params.get("limit", str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        message = f"Invalid value for 'limit': expected 1 to {most}, got {text!r}."
        raise RefusedError(400, message, code="invalid_value", param="limit")
    return int(text)
