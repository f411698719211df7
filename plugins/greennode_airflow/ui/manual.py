"""The manual: the pages of docs/ as HTML, under the addresses that their own links have."""

from __future__ import annotations

import html
import itertools
import posixpath
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

FIRST_PAGE = "index.md"
PICTURES = {".png": "image/png", ".svg": "image/svg+xml"}
_KINDS = ("", "tutorials", "how-to", "reference", "explanation")
"""The folders of the pages, in the order of the menu."""

# A wheel has them in a folder beside the package, a checkout in its usual places.
_BESIDE, _CHECKOUT = Path(__file__).parents[2] / "greennode_manual", Path(__file__).parents[3] / "docs"
_ROOT = _BESIDE if _BESIDE.is_dir() else _CHECKOUT
_COMMENT = re.compile(r"<!--.*?-->\s*", re.DOTALL)
_PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>{title}</title>
    <script src="{root}static/theme.js"></script>
    <link rel="stylesheet" href="{root}static/page.css" />
    <link rel="stylesheet" href="{root}static/manual.css" />
  </head>
  <body>
    <main class="manual">
      <nav aria-label="Pages of the manual">{menu}</nav>
      <article>
{text}      </article>
    </main>
  </body>
</html>
"""


@cache
def manual_files() -> dict[str, Path]:
    """What the manual has, by its path below docs/: pages and their pictures."""
    found = sorted(path for path in _ROOT.rglob("*") if path.suffix in {".md", *PICTURES})
    return {path.relative_to(_ROOT).as_posix(): path for path in found}


def manual_page(name: str) -> str:
    """A page as HTML. name: of manual_files()."""
    text = _COMMENT.sub("", manual_files()[name].read_text(encoding="utf-8"))
    tokens = _markdown().parse(text)
    _name_headings(tokens)
    return _PAGE.format(
        title=html.escape(_title(name)),
        # Of manual/index.md and of manual/how-to/guide.md it is further up by one.
        root="../" * (name.count("/") + 1),
        menu="".join(_menu(kind, name) for kind in _KINDS),
        text=_markdown().renderer.render(tokens, _markdown().options, {}),
    )


class _Renderer(RendererHTML):
    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Open another site in a new tab, not in the frame of this page."""
        token = tokens[idx]
        if "://" in str(token.attrs.get("href", "")):
            token.attrs |= {"target": "_blank", "rel": "noopener noreferrer"}
        return self.renderToken(tokens, idx, options, env)


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")


def _name_headings(tokens: Sequence[Token]) -> None:
    """Give headings the ids that links to them use, as GitHub makes them."""
    seen: dict[str, int] = {}
    for token, inline in itertools.pairwise(tokens):
        if token.type == "heading_open":
            plain = "".join(part.content for part in inline.children or ())
            slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            count = seen[slug] = seen.get(slug, -1) + 1
            token.attrs["id"] = f"{slug}-{count}" if count else slug


def _title(name: str) -> str:
    with manual_files()[name].open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()


def _menu(kind: str, shown: str) -> str:
    """The pages of one kind, below its name. kind: a folder of docs/."""
    pages = [page for page in manual_files() if page.endswith(".md") and posixpath.dirname(page) == kind]
    entries = "".join(_entry(page, shown) for page in pages)
    return f"<h2>{kind.capitalize()}</h2><ul>{entries}</ul>" if kind else f"<ul>{entries}</ul>"


def _entry(page: str, shown: str) -> str:
    current = ' aria-current="page"' if page == shown else ""
    return f'<li><a href="{html.escape(_way(page, shown))}"{current}>{html.escape(_title(page))}</a></li>'


def _way(page: str, shown: str) -> str:
    """The address of a page, relative to the one that is shown."""
    return posixpath.relpath(page, posixpath.dirname(shown) or ".")
