"""Walking a list page by page, without I/O."""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from greennode_batch.api.bounds import MAX_ENTRIES, MAX_PAGES, OVER_BOUND
from greennode_batch.api.exchange import Operation
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.wire import Batch, Page, RemoteFile
from greennode_batch.errors import RejectedError

Item = TypeVar("Item", Batch, RemoteFile)
_SAYS_MORE = "it says that there is more, and shows nothing new"
Parameters = Mapping[str, str | int]

NOT_WHOLE = "list_not_whole"
"""The code of the error that ends a list which shows that there is more of it, and gives no way to it."""


class Pager(Generic[Item]):
    """What to ask for next, and which entries of a page are new. Holds the ids it has seen."""

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
        """Whether there is no more to ask for."""
        return self._done

    def next_page(self) -> Operation[Page[Item]] | None:
        """The operation that gets the next page; None at the end.

        RejectedError for a list that does not end; with the code NOT_WHOLE at the end of one whose pages do not turn.
        """
        if self._hidden:
            raise RejectedError(
                f"the server's list of batches or files was not seen to its end: {self._hidden}. What is not on these "
                "pages may be there all the same. How the pages of this API turn is said by list_style, "
                "page_parameter, size_parameter and first_page in the connection's profile",
                code=NOT_WHOLE,
            )
        if not self._done and (self._pages >= MAX_PAGES or len(self._seen) >= MAX_ENTRIES):
            raise RejectedError(
                f"the server's list goes on after {self._pages:,} pages and {len(self._seen):,} entries; it is read "
                f"up to {MAX_PAGES:,} and {MAX_ENTRIES:,}. What was not reached may be there all the same: nothing is "
                "concluded from it, and nothing is sent or paid for",
                code=OVER_BOUND,
            )
        return None if self._done else self._ask(self._parameters())

    def take(self, page: Page[Item]) -> list[Item]:
        """The page's entries that no earlier page had.

        A page that brings nothing new ends the list, whatever `has_more` says: some servers ignore the cursor,
        or repeat it. A short page does not: some servers cap the page below what was asked for.
        """
        new: list[Item] = []
        for item in page.items:
            if item.id not in self._seen:
                self._seen.add(item.id)
                new.append(item)
        self._pages += 1
        self._entries += len(new) + page.entries - len(page.items)
        # Of a list that grows meanwhile, all that was there when the walk began is enough.
        self._total = page.total if self._pages == 1 else self._total
        self._done = not new or page.has_more is False or self._profile.list_style == "none"
        self._cursor = page.next_cursor or (page.items[-1].id if page.items else None)
        if self._done:
            self._hidden = self._what_is_hidden(page, has_new=bool(new))
        return new

    def _what_is_hidden(self, page: Page[Item], *, has_new: bool) -> str:
        """Why the end that a walk has come to is not the list's; empty where nothing speaks against it."""
        if self._total is not None:
            if self._total > self._entries:
                return f"it has {self._total:,} entries, and {self._entries:,} were shown"
            return _SAYS_MORE if page.has_more else ""
        pages_with_new = self._pages if has_new else self._pages - 1
        if page.pages is not None and page.pages > max(pages_with_new, 1):
            return f"it has {page.pages:,} pages, and every page after the first {max(pages_with_new, 1):,} is the same"
        if page.has_more:
            return _SAYS_MORE
        # A server that shows everything at once shows another number than it was asked for.
        if not has_new and page.entries == self._page_size:
            return "the next page is the same again"
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
