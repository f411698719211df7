"""The list of batches: whether it exists, how soon it shows a new batch, and how its pages work."""

from __future__ import annotations

from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.wire import Batch, Page
from greennode_batch.probe import shapes, variants
from greennode_batch.probe.session import Answer, Session
from greennode_batch.probe.state import ProbeBatch

LIST = "The list of batches"
_PAGE_SIZE = 50
_MAX_POLLS = 3
_PAUSE_SECONDS = 2.0
_NEEDED = 2
_FIRST_PAUSE_SECONDS = 0.5
_MAX_POLLS_FOR_PAGES = 5


def find_in_list(session: Session, one: ProbeBatch) -> bool:
    """Record when the list first shows a batch. True if there is nothing more to learn about it."""
    if one.listed_after_seconds is not None or session.state.seen.get("can_list_batches") is False:
        return True
    answer = _list(session)
    if answer.value is None:
        return session.state.seen.get("can_list_batches") is False
    session.state.works(session.profile, "can_list_batches")
    if all(item.id != one.id for item in answer.value.items):
        return False
    one.listed_after_seconds = round(max(0.0, session.now() - one.created_at), 1)
    state = session.state
    state.add(LIST, f"It exists; its entries are {shapes.list_shape(answer.json)}.", answer.file)
    state.add(LIST, f"It showed a new batch {one.listed_after_seconds} s after the create.", answer.file)
    item = next(entry for entry in answer.value.items if entry.id == one.id)
    if item.input_file_id != one.file_id:
        state.add(LIST, f"Its entries name the input file as {item.input_file_id}, not as it was sent.", answer.file)
    return True


def find_by_file(session: Session, file_id: str) -> tuple[Batch | None, bool]:
    """The batch of an input file, and whether there was a list to find it in. New batches may show late."""
    for poll in range(_MAX_POLLS):
        answer = _list(session)
        if answer.value is None:
            return None, False
        for batch in answer.value.items:
            if batch.input_file_id == file_id:
                return batch, True
        session.sleep(_PAUSE_SECONDS * 2**poll)
    return None, True


def _list(session: Session) -> Answer[Page[Batch]]:
    answer = _page(session, session.profile, _PAGE_SIZE, "list batches")
    if answer.not_there:
        session.state.seen["can_list_batches"] = False
        session.state.add(LIST, f"There is none: {answer.says}.", answer.file)
        session.state.open["how soon a new batch shows in the list"] = f"there is no list ({answer.says})"
        return answer
    if not answer.ok and not answer.about_the_account and session.profile.list_style != "none":
        bare = variants.laid_over(session.profile, {"list_style": "none"})
        without = _page(session, bare, _PAGE_SIZE, "list batches without parameters")
        if without.ok:
            session.state.add(LIST, f"It refuses the parameters limit and after: {answer.says}.", answer.file)
            session.state.works(bare, "list_style")
            return without
    if not answer.ok:
        session.state.open["the list of batches"] = answer.says
    return answer


def _page(session: Session, profile: ApiProfile, size: int, name: str) -> Answer[Page[Batch]]:
    # Even if the profile says that there is no list: this call finds out.
    requested = variants.laid_over(profile, {"can_list_batches": True})
    return session.ask_page(name, session.with_profile(requested).batches(size))


def paging(session: Session) -> None:
    """Find out how to get the second page, if there are two batches or more."""
    state = session.state
    shown = _shown(session) if state.seen.get("can_list_batches") else None
    if shown is None or shown.value is None:
        state.open.setdefault("the pages of the list", "there is no list, or it did not show the batches")
        return
    if len(shown.value.items) < _NEEDED:
        state.open["the pages of the list"] = f"it shows {len(shown.value.items)} batch, too few for a second page"
        return
    for variant in variants.pagings(session.profile):
        profile = variants.laid_over(session.profile, variant)
        found = _turned(session, profile) if variant["list_style"] == "cursor" else _numbered(session, profile)
        if found is not None:
            state.works(found, *(variant if found.list_style == "page" else ("list_style",)))
            _say(session, found)
            return
    state.seen["list_style"] = "none"
    state.add(LIST, f"Page parameters have no effect; all {len(shown.value.items)} come at once.", shown.file)
    if isinstance(shown.json, dict) and shown.value.has_more:
        state.open["the next page of the list"] = "the list says that there is more, but no way to it was found"


def _shown(session: Session) -> Answer[Page[Batch]]:
    """The list, once it shows every batch of the probe; or its state after a few polls."""
    made = {one.id for one in session.state.batches if not one.gone}
    for poll in range(_MAX_POLLS_FOR_PAGES):
        answer = _list(session)
        if answer.value is None or made <= {item.id for item in answer.value.items}:
            break
        session.sleep(_FIRST_PAUSE_SECONDS * 2**poll)
    return answer


def _say(session: Session, found: ApiProfile) -> None:
    if found.list_style == "cursor":
        session.state.add(LIST, "Pages use after and limit.")
    else:
        words = f"{found.page_parameter} and {found.size_parameter}, from page {found.first_page}"
        session.state.add(LIST, f"Pages use {words}.")


def _turned(session: Session, profile: ApiProfile) -> ApiProfile | None:
    """The profile, if `limit` sets the size of a page and `after` gets the next one."""
    pager = session.with_profile(profile).batches(1)
    first = session.ask_page("list one batch by limit", pager)
    if first.value is None or len(first.value.items) != 1:
        return None
    pager.take(first.value)
    operation = pager.next_page()
    second = None if operation is None else session.ask("list the next by after", operation)
    if second is None or second.value is None or not second.value.items:
        return None
    return profile if second.value.items[0].id != first.value.items[0].id else None


def _numbered(session: Session, profile: ApiProfile) -> ApiProfile | None:
    """The profile with its first page's number, if page numbers get the next page."""
    heads: dict[int, str] = {}
    for number in (0, 1, 2):
        name = f"list page {number} by {profile.page_parameter} and {profile.size_parameter}"
        requested = variants.laid_over(profile, {"first_page": number})
        answer = _page(session, requested, 1, name)
        items = answer.value.items if answer.value is not None else ()
        if len(items) > 1:
            return None
        if items:
            heads[number] = items[0].id
        if number == 1 and heads.get(0) not in {None, heads.get(1)} and 1 in heads:
            return variants.laid_over(profile, {"first_page": 0})
    if 1 in heads and heads.get(2) not in {None, heads[1]}:
        return variants.laid_over(profile, {"first_page": 1})
    return None
