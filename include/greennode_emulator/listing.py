"""Lists of files and batches, paged as the dialect does it."""

from collections.abc import Callable
from typing import TypeVar

from fastapi import Request

from greennode_emulator.dialects.dialect import Page, Paging, Reply
from greennode_emulator.faults.call_acts import fault_of
from greennode_emulator.faults.call_faults import PartialList
from greennode_emulator.refusals import RefusedError, not_found
from greennode_emulator.store import Identified, Shelf

RecordT = TypeVar("RecordT", bound=Identified)

_EVERYTHING = 1_000_000


def list_page(
    request: Request,
    shelf: Shelf[RecordT],
    paging: Paging,
    render: Callable[[RecordT], Reply | None],
    *,
    what: str,
    default: int,
    most: int,
) -> Page:
    """The page that a request asks for. Records for which `render` returns None are left out."""
    size, number, skip, after = _EVERYTHING, paging.first, 0, None
    if paging.style != "none":
        size = _whole(request, paging.size, default, 1, most)
    if paging.style == "page":
        number = _whole(request, paging.page, paging.first, paging.first, _EVERYTHING)
        skip = (number - paging.first) * size
    if paging.style == "cursor":
        after = request.query_params.get("after")
    fault = fault_of(request.scope, PartialList)
    holds = fault is not None and (fault.unless_header or "") not in request.headers
    show = fault.show if fault is not None and holds else paging.show
    if show == "nothing":
        return Page([], number=number, size=size)
    if show == "first_page":
        number, skip, after = paging.first, 0, None
    try:
        with shelf.store.transaction():
            records, more = shelf.newest(limit=size, after=after, skip=skip)
            total = shelf.count()
    except KeyError:
        raise not_found(what, str(after)) from None
    items = [reply for record in records if (reply := render(record)) is not None]
    return Page(items, has_more=more, number=number, size=size, total=total)


def _whole(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or not least <= int(text) <= most:
        message = f"Invalid value for '{name}': expected {least} to {most}, got {text!r}."
        raise RefusedError(400, message, code="invalid_value", param=name)
    return int(text)
