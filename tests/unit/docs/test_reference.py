"""The pages that are made from the code are as the code makes them now."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
MADE = runpy.run_path(str(PROJECT / "docs" / "make_reference.py"))


@pytest.mark.parametrize(("path", "text"), MADE["pages"]().items(), ids=lambda one: getattr(one, "name", ""))
def test_a_page_is_what_the_code_says(path: Path, text: str) -> None:
    assert path.read_text() == text, "run `make docs`"


def test_every_dag_file_has_its_paragraph() -> None:
    page = (PROJECT / "docs" / "reference" / "dags.md").read_text()
    files = list((PROJECT / "dags").glob("*.py"))
    assert len(files) > 6
    assert all(f"## `{file.stem}`" in page for file in files)


def test_a_docstring_belongs_to_the_field_above_it() -> None:
    source = '''class Job:
    """What it is."""

    first: str
    """One thing,
    with a: colon."""
    second: int = 1
    renamed: str = "x"
    """Another thing."""
'''
    assert MADE["_field_docstrings"](source) == {"first": "One thing, with a: colon.", "renamed": "Another thing."}


@dataclasses.dataclass
class Silent:
    quiet: str


def test_a_field_without_a_docstring_is_an_error() -> None:
    with pytest.raises(SystemExit, match="Silent: add a docstring below quiet"):
        MADE["_class_page"](Silent)
