"""docs/how-to/symptoms.md says what to do about every error, and about every way in which a row has no answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from greennode_batch.state.row_status import RowStatus

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "how-to" / "symptoms.md").read_text()
ERRORS = re.findall(r"^\| `(\w+Error)` ", (DOCS / "reference" / "errors.md").read_text(), re.MULTILINE)
GENERAL = {"ApiError"}  # Raised only as one of its kinds.


def test_it_says_what_to_do_about_each_error() -> None:
    assert set(re.findall(r"^\| `(\w+Error)` ", PAGE, re.MULTILINE)) == set(ERRORS) - GENERAL


@pytest.mark.parametrize("status", [one for one in RowStatus if one is not RowStatus.SUCCEEDED])
def test_it_says_what_to_do_about_each_status(status: RowStatus) -> None:
    assert f"`{status}`" in PAGE
