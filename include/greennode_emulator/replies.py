"""HTTP replies, and reading the parts of requests."""

from typing import Any

import msgspec
from fastapi import Response

from greennode_emulator.dialects.dialect import Dialect
from greennode_emulator.error_bodies import Body, Page
from greennode_emulator.refusals import RefusedError

_encoder = msgspec.json.Encoder()


def json_reply(body: Any, *, status: int = 200) -> Response:
    """A JSON reply."""
    return Response(_encoder.encode(body), status_code=status, media_type="application/json")


def body_reply(body: Body, *, status: int = 200) -> Response:
    """A reply that may be JSON or a page of text."""
    if isinstance(body, Page):
        return Response(body.text, status_code=status, media_type=body.media_type)
    return json_reply(body, status=status)


def refusal_reply(refusal: RefusedError, dialect: Dialect) -> Response:
    """A refusal in the dialect's error shape."""
    status = dialect.statuses.get(refusal.status, refusal.status)
    return body_reply(dialect.error_reply(refusal), status=status)


def deleted_reply(dialect: Dialect, kind: str, name: str) -> Response:
    """The dialect's reply to a deletion, if it has one."""
    reply = dialect.deleted_reply(kind, name)
    if reply is None:
        return Response(status_code=dialect.deleted_status)
    return json_reply(reply, status=dialect.deleted_status)
