"""Walking a list page by page, without I/O."""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from greennode_batch.api.bounds import MAX_ENTRIES, MAX_PAGES, OVER_BOUND
from greennode_batch.api.exchange import Operation
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.wire import Batch, Page, RemoteFile
from greennode_batch.errors import RejectedError

Item = TypeVar("Item", Batch, RemoteFile)
Parameters = Mapping[str, str | int]


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

    @property
    def ended(self) -> bool:
        """Whether there is no more to ask for."""
        return self._done

    def next_page(self) -> Operation[Page[Item]] | None:
        """The operation that gets the next page; None at the end. RejectedError for a list that does not end."""
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
        self._done = not new or page.has_more is False or self._profile.list_style == "none"
        self._cursor = page.next_cursor or (page.items[-1].id if page.items else None)
        return new

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
