"""The pages that are made from the code are as the code makes them now."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
MADE = runpy.run_path(str(PROJECT / "docs" / "make_reference.py"))


@pytest.mark.parametrize(("path", "text"), MADE["pages"]().items(), ids=lambda one: getattr(one, "name", ""))
def test_a_page_is_what_the_code_says(path: Path, text: str) -> None:
    assert path.read_text() == text, "run `make docs`"


def test_every_dag_file_has_its_paragraph() -> None:
    page = (PROJECT / "DAGS.md").read_text()
    files = list((PROJECT / "dags").glob("*.py"))
    assert len(files) > 6
    assert all(f"## `{file.stem}`" in page for file in files)


def test_a_field_that_no_sentence_explains_is_found() -> None:
    told = MADE["_told"](
        "What it is.\n\nfirst, second: both of them. third: another\none, with a: colon.", ["first", "second", "third"]
    )
    assert told == (
        "What it is.",
        {"first": "Both of them.", "second": "Both of them.", "third": "Another one, with a: colon."},
    )
