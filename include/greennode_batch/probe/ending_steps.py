"""Cancel and delete batches. DELETE comes last: it cannot be undone."""

from __future__ import annotations

from greennode_batch.api.profile import route
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.probe import shapes, variants
from greennode_batch.probe.session import Answer, Session
from greennode_batch.probe.state import ProbeBatch
from greennode_batch.probe.watch_steps import poll

ENDING = "Cancel and delete"
_DECLINED = frozenset({400, 409, 422})
_GONE = frozenset({404, 410})


def cancel(session: Session) -> None:
    """Cancel the new batch, in the first way that works."""
    state, one = session.state, session.state.current("cancelled")
    if one is None:
        return
    for variant in variants.cancels(session.profile):
        if one.ended and variant["cancel_style"] == "delete":
            state.open["whether DELETE cancels a batch"] = "the batch had ended before it could be tried"
            return
        profile = variants.laid_over(session.profile, variant)
        what = (
            " ".join(route(profile.cancel_path))
            if variant["cancel_style"] == "post"
            else f"DELETE {profile.batch_path}"
        )
        answer = session.ask("cancel", session.with_profile(profile).cancel_batch(one.id))
        gone = _poll_after(session, one)
        if variant["cancel_style"] == "delete":
            _deleting_cancel(session, one, variant, answer, gone=gone)
            return
        if answer.not_there:
            state.add(ENDING, f"There is no {what}: {answer.says}.", answer.file)
            continue
        if not answer.ok:
            state.open["how to cancel a batch"] = f"{what}: {answer.says}"
            return
        one.is_cancelled = answer.status not in _DECLINED
        state.works(profile, *variant)
        _say_cancelled(session, one, what, answer)
        return


def _say_cancelled(session: Session, one: ProbeBatch, what: str, answer: Answer[Batch | None]) -> None:
    state = session.state
    if answer.status in _DECLINED:
        state.add(
            ENDING, f"{what} exists; it declined: {answer.says} (the batch: {one.batch.raw_status!r}).", answer.file
        )
        state.open["what a cancel of a running batch does"] = "the batch was not in a state that can be cancelled"
        return
    shape = f"{shapes.wrapper(answer.json)}: {shapes.fields(answer.json)}" if answer.json is not None else "no JSON"
    state.add(ENDING, f"{what} cancels a batch; it answers {answer.says}, {shape}.", answer.file)
    state.add(ENDING, f"Afterwards the batch is {one.batch.raw_status!r}.")


def _deleting_cancel(
    session: Session, one: ProbeBatch, variant: variants.Variant, answer: Answer[Batch | None], *, gone: bool
) -> None:
    """What a DELETE did to a batch that had not ended."""
    state, path = session.state, session.profile.batch_path
    if gone:
        state.add(ENDING, f"DELETE {path} removes a batch at once, even one that has not ended.", answer.file)
        state.seen |= {"cancel_style": "none", "delete_style": "delete"}
    elif answer.status in _DECLINED:
        state.add(ENDING, f"DELETE {path} declines for a batch that has not ended: {answer.says}.", answer.file)
        state.seen["cancel_style"] = "none"
    elif answer.not_there:
        state.add(ENDING, f"There is no DELETE {path} either: {answer.says}. A batch cannot be cancelled.", answer.file)
        state.seen |= {"cancel_style": "none", "delete_style": "none"}
    elif answer.ok and one.batch.status in {BatchStatus.CANCELLING, BatchStatus.CANCELLED}:
        state.seen["cancel_style"] = variant["cancel_style"]
        _say_cancelled(session, one, f"DELETE {path}", answer)
    else:
        state.open["how to cancel a batch"] = f"DELETE {path}: {answer.says}; the batch is {one.batch.raw_status!r}"


def cancel_finished(session: Session) -> None:
    """What a cancel of a finished batch returns."""
    state, one = session.state, session.state.current("main")
    style = state.seen.get("cancel_style")
    if one is None or one.gone or style != "post":
        state.open["what cancelling a finished batch returns"] = (
            "DELETE is this API's cancel, and may delete a finished batch"
            if style == "delete"
            else "no way to cancel was found"
        )
        return
    answer = session.ask("cancel the finished batch", session.operations.cancel_batch(one.id))
    poll(session, one)
    state.add(
        ENDING, f"Cancelling a finished batch returns {answer.says}; it stays {one.batch.raw_status!r}.", answer.file
    )


def delete(session: Session) -> None:
    """Delete the batches, the main one twice."""
    state = session.state
    if session.keep:
        state.open["what deleting a batch returns"] = "everything was to be kept"
        return
    for one in [*reversed(state.batches)]:
        if one.gone:
            continue
        if state.seen.get("delete_style") == "none":
            state.left.append(f"batch {one.id} ({one.role}): this API does not delete batches")
            continue
        _delete(session, one)


def _delete(session: Session, one: ProbeBatch) -> None:
    state, path = session.state, session.profile.batch_path
    profile = variants.laid_over(session.profile, {"delete_style": "delete"})
    answer = session.ask(f"delete {one.role}", session.with_profile(profile).delete_batch(one.id))
    gone = _poll_after(session, one)
    first = "delete_style" not in state.seen
    if answer.ok and gone:
        state.seen["delete_style"] = "delete"
        if first:
            state.add(ENDING, f"DELETE {path} deletes a finished batch; it returns {answer.says}.", answer.file)
            again = session.ask("delete it again", session.with_profile(profile).delete_batch(one.id))
            state.add(ENDING, f"A second DELETE of it returns {again.says}.", again.file)
        return
    state.left.append(f"batch {one.id} ({one.role}): {answer.says}")
    if answer.not_there or answer.ok or state.seen.get("cancel_style") == "delete":
        state.seen["delete_style"] = "none"
        state.add(ENDING, f"DELETE {path} returns {answer.says}, but a finished batch stays.", answer.file)
    elif first:
        state.open["how to delete a batch"] = f"DELETE {path}: {answer.says}"


def _poll_after(session: Session, one: ProbeBatch) -> bool:
    """Poll a batch again; returns whether it no longer exists."""
    answer = session.ask("get the batch after", session.operations.get_batch(one.id))
    if answer.value is not None:
        one.note(answer.json_object, session.now())
    elif answer.status in _GONE:
        one.gone = True
    return one.gone
