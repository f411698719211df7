"""The manual: the project's docs as pages."""

from __future__ import annotations

import posixpath
import re
from html import unescape
from pathlib import Path

import pytest

from greennode_airflow.ui.manual import FIRST_PAGE, manual_files, manual_page

PROJECT = Path(__file__).parents[3]
STATIC = PROJECT / "plugins" / "greennode_airflow" / "ui" / "static"
PAGES = [name for name in manual_files() if name.endswith(".md")]


def links(page: str) -> list[str]:
    """The addresses that a page names, without those of other sites."""
    found = re.findall(r'(?:href|src)="([^"]+)"', manual_page(page))
    return [unescape(one) for one in found if "://" not in one]


def test_its_menu_has_every_page_of_the_docs_and_begins_with_their_first() -> None:
    docs = PROJECT / "docs"
    assert set(PAGES) == {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    menu = re.findall(r'<li><a href="([^"]+)"', manual_page(FIRST_PAGE).partition("</nav>")[0])
    assert menu[0] == FIRST_PAGE
    assert sorted(menu) == sorted(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_something_that_is_there(page: str) -> None:
    there = {*manual_files(), *(f"static/{path.name}" for path in STATIC.iterdir())}
    for link in links(page):
        path, _, heading = link.partition("#")
        # As a browser reads it below /greennode/manual/.
        whole = posixpath.join("manual", posixpath.dirname(page), path) if path else f"manual/{page}"
        name = posixpath.normpath(whole).removeprefix("manual/")
        assert name in there, link
        assert not heading or f'id="{heading}"' in manual_page(name), link


def test_a_page_is_text_and_tables_and_nothing_that_runs() -> None:
    whole = manual_page("reference/job.md")
    assert '<h1 id="job-reference">Job reference</h1>' in whole
    assert "<table>" in whole
    assert "Made from the code" not in whole
    assert whole.count("<script") == 1
    assert "style=" not in whole


def test_a_page_links_the_others_and_another_site_opens_beside_airflow() -> None:
    first = manual_page(FIRST_PAGE)
    assert '<a href="explanation/guarantees.md">' in first
    assert '<a href="https://greennode.ai" target="_blank" rel="noopener noreferrer">' in first
    assert '<a href="../index.md">' in manual_page("how-to/guide.md")
