"""The documentation site: it builds without a warning, has every page, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

PROJECT = Path(__file__).parents[3]
DOCS = PROJECT / "docs"
DRAW = runpy.run_path(str(DOCS / "draw_diagrams.py"))
PAGES = sorted(path.relative_to(DOCS) for path in DOCS.rglob("*.md"))
BLOCKS = ("li", "pre", "table", "td", "h2", "h3", "img", "ol")
# What a browser loads by itself, unlike a link that a reader follows.
LOADED = re.compile(r"""(?:\bsrc|<link[^>]*\bhref)=["']?((?:https?:)?//[^"' >]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make lint` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        capture_output=True, text=True, check=False, cwd=PROJECT, env={"PATH": "", "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


def test_every_page_of_docs_is_on_the_site(site: Path) -> None:
    built = {path.relative_to(site) for path in site.rglob("*.html")}
    assert {page.with_suffix(".html") for page in PAGES} == built - {Path("404.html")}


def test_no_page_loads_anything_from_another_site(site: Path) -> None:
    found = {
        f"{page.relative_to(site)}: {address}"
        for page in site.rglob("*.html")
        for address in LOADED.findall(page.read_text())
    }
    assert not found


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_has_the_lists_and_tables_that_it_has_in_airflow(site: Path, page: Path) -> None:
    """Two readers of Markdown differ over nested lists and over blocks inside them."""
    commonmark = MarkdownIt("commonmark").enable("table").render((DOCS / page).read_text())
    whole = (site / page).with_suffix(".html").read_text()
    article = whole[whole.index("<article") : whole.index("</article")]
    counts = [{tag: len(re.findall(rf"<{tag}[\s>]", text)) for tag in BLOCKS} for text in (commonmark, article)]
    assert counts[0] == counts[1]


def test_the_script_that_generates_pages_is_not_published(site: Path) -> None:
    assert not list(site.rglob("*.py"))


def test_every_diagram_is_drawn_from_its_text() -> None:
    texts = list((DOCS / "pictures").glob("*.mmd"))
    assert texts
    for path in texts:
        first = path.with_suffix(".svg").read_text().partition("\n")[0]
        assert first == DRAW["drawn_from"](path.read_text()), f"{path.name}: run `make pictures`"
