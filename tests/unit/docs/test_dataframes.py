"""What docs/how-to/dataframes.md shows works: its blocks run in their order, as a reader would paste them."""

import re
from pathlib import Path

import pandas as pd
import pytest
from pydantic import BaseModel

PROJECT = Path(__file__).parents[3]
PAGE = (PROJECT / "docs" / "how-to" / "dataframes.md").read_text()
README = (PROJECT / "README.md").read_text()


class ReviewLabel(BaseModel):
    """Stands for that of the README's DAG."""

    topic: str


def blocks_of(page):
    return re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _account(tmp_path, monkeypatch, emulator, quick_polls):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GREENNODE_API_KEY", emulator.api_key)
    monkeypatch.setenv("GREENNODE_BASE_URL", emulator.base_url)


def test_the_readmes_example_runs_as_it_is_shown():
    (block,) = (one for one in blocks_of(README) if "enrich(" in one)
    names = {"ReviewLabel": ReviewLabel, "reviews": pd.DataFrame({"id": [1, 2], "body": ["good", "bad"]})}
    exec(compile(block, "README.md", "exec"), names)
    assert list(names["labels"]["status"]) == ["succeeded", "succeeded"]


def test_its_examples_run_as_they_are_shown(capsys):
    blocks = blocks_of(PAGE)
    assert len(blocks) == 6
    names = {"__name__": "notebook"}
    shown = []
    for block in blocks:
        exec(compile(block, "docs/how-to/dataframes.md", "exec"), names)
        shown.append(capsys.readouterr().out)
    assert list(names["answers"]["id"]) == list(range(10))
    assert set(names["answers"]["status"]) == {"succeeded"}
    assert set(names["labels"]["department"]) <= {"billing", "support", "sales"}
    assert str(names["labels"]["urgent"].dtype) == "boolean"
    assert names["seen"].requests == 10
    assert set(names["now"]["status"]) == {"succeeded"}
    # The result of the call that was made before: it asked nothing.
    assert names["result"].report.unchanged == 10
    assert all(shown[1:])
