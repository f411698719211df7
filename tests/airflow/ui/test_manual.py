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


def test_it_has_every_page_of_the_docs_and_begins_with_the_readme() -> None:
    assert PAGES[0] == FIRST_PAGE
    assert set(PAGES) == {FIRST_PAGE, "DAGS.md", *(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md"))}


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
    whole = manual_page("docs/job-reference.md")
    assert '<h1 id="job-reference">Job reference</h1>' in whole
    assert "<table>" in whole
    assert "Made from the code" not in whole
    assert whole.count("<script") == 1
    assert "style=" not in whole


def test_a_page_that_a_text_names_is_linked_and_another_site_opens_beside_airflow() -> None:
    readme = manual_page(FIRST_PAGE)
    assert '<a href="docs/guarantees.md"><code>docs/guarantees.md</code></a>' in readme
    assert '<a href="https://greennode.ai" target="_blank" rel="noopener noreferrer">' in readme
    assert '<a href="../README.md">' in manual_page("docs/guide.md")
