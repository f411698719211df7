"""Wait for batches, and correct findings that only their end shows to be wrong."""

from __future__ import annotations

from greennode_batch.api.wire import BatchStatus
from greennode_batch.probe import variants
from greennode_batch.probe.batch_steps import CREATE, create, upload_other_lines
from greennode_batch.probe.list_steps import find_in_list
from greennode_batch.probe.result_steps import results_of_batch
from greennode_batch.probe.session import Session
from greennode_batch.probe.watch_steps import pause, poll

_FIRST_POLL_SECONDS = 20.0


def first_poll(session: Session) -> None:
    """Watch the main batch for a short while: the list should show it, and its lines should be accepted."""
    for _ in range(2):
        one = session.state.current("main")
        if one is None:
            return
        until = one.created_at + min(_FIRST_POLL_SECONDS, session.wait_seconds)
        while True:
            taken = one.ended or not poll(session, one) or one.ended or len(one.words) > 1
            if (find_in_list(session, one) and taken) or session.now() >= until:
                break
            pause(session, one)
        if not mend_lines(session):
            return


def mend_lines(session: Session) -> bool:
    """If the main batch failed because of its lines, make another with lines in the other format."""
    state, one = session.state, session.state.current("main")
    if one is None or not one.ended or one.gone or any(old.replaced for old in state.batches):
        return False
    batch = one.batch
    nothing_done = batch.output_file_id is None and batch.error_file_id is not None and not batch.counts.completed
    failed = batch.status is BatchStatus.FAILED or (batch.status is BatchStatus.COMPLETED and nothing_done)
    words = "; ".join(batch.errors) or "no reason given"
    if not failed or variants.speaks_of_the_account(words):
        return False
    state.add(CREATE, f"Lines of {one.line_format} end as {batch.raw_status!r}: {words}.")
    file_id = upload_other_lines(session)
    if file_id is None:
        return False
    one.replaced = True
    answer = create(session, "main", session.profile, file_id)
    return answer is not None and answer.ok


def _try_results(session: Session) -> None:
    """Batches with words that nobody knows may be over all the same, where the server has results of them."""
    for one in session.state.batches:
        if not one.ended and one.is_quiet and one.batch.status is BatchStatus.UNKNOWN and len(one.words) > 1:
            one.has_results = results_of_batch(session, one) is not None


def wait(session: Session) -> None:
    """Watch every batch until it ends, or the time is up."""
    deadline = session.now() + session.wait_seconds
    while running := [one for one in session.state.batches if not one.ended and not one.replaced]:
        for one in running:
            poll(session, one)
            if one.listed_after_seconds is None and one.role == "main":
                find_in_list(session, one)
        mend_lines(session)
        batches = [one for one in session.state.batches if not one.replaced]
        session.progress("waiting for batches", sum(one.ended for one in batches), len(batches))
        left = deadline - session.now()
        if left <= 0:
            _try_results(session)
        if left <= 0 or all(one.ended for one in running):
            break
        pause(session, running[-1], most=left)
