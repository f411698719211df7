"""Reading a list page by page, without I/O."""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from greennode_batch.api.bounds import MAX_ENTRIES, MAX_PAGES, OVER_BOUND
from greennode_batch.api.exchange import Operation
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.results.result_document import Entry
from greennode_batch.api.wire import Batch, Page, RemoteFile
from greennode_batch.errors import RejectedError

Item = TypeVar("Item", Batch, RemoteFile, Entry)
_SAYS_MORE = "it says that there is more, but shows nothing new"
Parameters = Mapping[str, str | int]

NOT_WHOLE = "list_not_whole"
"""The code of the error for a list that says that it has more entries but gives no way to reach them."""


class Pager(Generic[Item]):
    """Which page to request next, and which of its entries are new. Holds the ids of all entries so far."""

    def __init__(
        self,
        profile: ApiProfile,
        page_size: int,
        ask: Callable[[Parameters], Operation[Page[Item]]],
    ) -> None:
        self._profile = profile
        self._page_size = page_size
        self._ask: Callable[[Parameters], Operation[Page[Item]]] = ask
        self._seen: set[str] = set()
        self._pages = 0
        self._cursor: str | None = None
        self._done = False
        self._entries = 0
        self._total: int | None = None
        self._hidden = ""

    @property
    def ended(self) -> bool:
        """Whether the list has been read to its end."""
        return self._done

    def next_page(self) -> Operation[Page[Item]] | None:
        """The operation that gets the next page; None at the end.

        Raises RejectedError for a list that does not end, with the code NOT_WHOLE if its later pages cannot be reached.
        """
        if self._hidden:
            raise RejectedError(
                f"the server's list of batches, files or results was not read to its end: {self._hidden}. An entry "
                "that is not on these pages may still exist. To say how this API pages its lists, set list_style, "
                "page_parameter, size_parameter and first_page in the connection's profile",
                code=NOT_WHOLE,
            )
        if not self._done and (self._pages >= MAX_PAGES or len(self._seen) >= MAX_ENTRIES):
            raise RejectedError(
                f"the list goes on after {self._pages:,} pages and {len(self._seen):,} entries; the limits for it are "
                f"{MAX_PAGES:,} and {MAX_ENTRIES:,}. An entry beyond them may still exist: no conclusion is drawn "
                "from this list, and nothing is sent or paid for",
                code=OVER_BOUND,
            )
        return None if self._done else self._ask(self._parameters())

    def take(self, page: Page[Item]) -> list[Item]:
        """The page's entries that no earlier page had.

        A page without new entries ends the list, whatever `has_more` says: some servers ignore the cursor, or repeat
        it. A short page does not end it: some servers return fewer entries a page than requested.
        """
        new: list[Item] = []
        for item in page.items:
            if item.id not in self._seen:
                self._seen.add(item.id)
                new.append(item)
        self._pages += 1
        self._entries += len(new) + page.entries - len(page.items)
        # A list may grow while it is read: the entries that it had at the start are enough.
        self._total = page.total if self._pages == 1 else self._total
        self._done = not new or page.has_more is False or self._profile.list_style == "none"
        self._cursor = page.next_cursor or (page.items[-1].id if page.items else None)
        if self._done:
            self._hidden = self._what_is_hidden(page, has_new=bool(new))
        return new

    def _what_is_hidden(self, page: Page[Item], *, has_new: bool) -> str:
        """Why the list may have more entries than were read; empty if there is no sign of it."""
        if self._total is not None:
            if self._total > self._entries:
                return f"it has {self._total:,} entries, but {self._entries:,} were shown"
            return _SAYS_MORE if page.has_more else ""
        pages_with_new = self._pages if has_new else self._pages - 1
        if page.pages is not None and page.pages > max(pages_with_new, 1):
            return f"it has {page.pages:,} pages, but every page after the first {max(pages_with_new, 1):,} is the same"
        if page.has_more:
            return _SAYS_MORE
        # A server that shows the whole list at once returns another number of entries than requested.
        if not has_new and page.entries == self._page_size:
            return "the next page is the same as the last"
        return ""

    def _parameters(self) -> Parameters:
        match self._profile.list_style:
            case "cursor":
                after = {} if self._cursor is None else {"after": self._cursor}
                return {"limit": self._page_size, **after}
            case "page":
                return {
                    self._profile.page_parameter: self._profile.first_page + self._pages,
                    self._profile.size_parameter: self._page_size,
                }
            case "none":
                return {}
