"""A headless Chromium, driven by Playwright: for tests of pages, and their pictures in the docs."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from greennode_local.local_error import LocalError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# As root and in containers, Chromium has no sandbox and little shared memory.
_OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server"]


def find_chromium() -> str | None:
    """The browser's program, or None if none is installed."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with an empty profile. Raises LocalError if none is installed."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the extra `dev` alone

    program = find_chromium()
    if program is None:
        raise LocalError(f"no Chromium is installed: tried {', '.join(_NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_OPTIONS)
        try:
            yield browser
        finally:
            browser.close()
