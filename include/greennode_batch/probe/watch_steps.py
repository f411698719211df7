"""One poll of a batch, and the wait between two polls."""

from __future__ import annotations

from http import HTTPStatus

from greennode_batch.api.retryable import is_retryable
from greennode_batch.probe.session import Session
from greennode_batch.probe.state import ProbeBatch

_FIRST_PAUSE_SECONDS = 0.5
_MAX_PAUSE_SECONDS = 60.0
_SHARE_OF_AGE = 0.1


def poll(session: Session, one: ProbeBatch) -> bool:
    """Take over the batch's current state; returns whether the poll succeeded."""
    answer = session.ask(f"get {one.role}", session.operations.get_batch(one.id))
    if answer.value is not None:
        one.note(answer.json_object, session.now())
        return True
    return answer.status is None or answer.status == HTTPStatus.NOT_FOUND or is_retryable(answer.status)


def pause(session: Session, one: ProbeBatch, *, most: float = _MAX_PAUSE_SECONDS) -> None:
    """Wait before the next poll: a tenth of the batch's age."""
    age = session.now() - one.created_at
    session.sleep(min(max(_FIRST_PAUSE_SECONDS, age * _SHARE_OF_AGE), _MAX_PAUSE_SECONDS, most))
