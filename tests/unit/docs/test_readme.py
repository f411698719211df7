"""README.md and the pages beside it: short, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 100


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_that_is_there(page: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (PROJECT / page).read_text())
    paths = {link.partition("#")[0] for link in links if "://" not in link}
    assert [path for path in paths if not (PROJECT / path).is_file()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_heading_that_is_linked_is_there(page: str) -> None:
    for path, heading in re.findall(r"\]\(([\w/.-]+)#([\w-]+)\)", (PROJECT / page).read_text()):
        headings = re.findall(r"^#+ (.*)$", (PROJECT / path).read_text(), re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
        assert heading in slugs, f"{path}#{heading}"


def test_a_path_that_contributing_names_is_there() -> None:
    named = re.findall(r"`((?:include|plugins|tests|docs|docker)/[\w/.-]+)`", (PROJECT / "CONTRIBUTING.md").read_text())
    assert len(named) >= 20
    assert [path for path in named if not (PROJECT / path).exists()] == []
