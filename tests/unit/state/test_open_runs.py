from __future__ import annotations

from pathlib import Path

import pytest
from upath import UPath

from greennode_batch.staging.folders import RunFolder, run_folder
from greennode_batch.state.open_runs import runs_ahead


@pytest.fixture
def root(tmp_path: Path) -> UPath:
    return UPath(tmp_path / "staging")


def ahead(run: RunFolder, *, keeps_number: bool = False) -> list[str]:
    found = runs_ahead(run, dag_id="own", run_id=run.path.name, keeps_number=keeps_number)
    return [other.noted.run_id for other in found]


def test_a_run_sees_those_that_were_noted_before_it(root: UPath) -> None:
    first, second, third = (run_folder(root, "own", name) for name in ("c", "a", "b"))
    assert (ahead(first), ahead(second), ahead(third)) == ([], ["c"], ["c", "a"])
    assert ahead(run_folder(root, "other", "d")) == []


def test_a_run_that_waits_keeps_its_number_and_one_that_had_stopped_goes_behind(root: UPath) -> None:
    first, second = (run_folder(root, "own", name) for name in "ab")
    ahead(first), ahead(second)
    assert (ahead(first, keeps_number=True), ahead(second, keeps_number=True)) == ([], ["a"])
    assert ahead(first) == ["b"]
    assert ahead(second, keeps_number=True) == []


def test_what_is_over_is_forgotten(root: UPath) -> None:
    first, second = (run_folder(root, "own", name) for name in "ab")
    ahead(first)
    (found,) = runs_ahead(second, dag_id="own", run_id="b", keeps_number=False)
    assert found.run.path == first.path
    found.forget()
    found.forget()
    assert ahead(second, keeps_number=True) == []


def test_of_two_runs_that_take_a_number_at_once_one_is_ahead(root: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (run_folder(root, "own", name) for name in "ab")
    # The first one has noted itself after the second has listed the notes.
    ahead(first)
    monkeypatch.setattr("greennode_batch.state.open_runs._numbers", lambda _folder: [])
    assert ahead(second) == ["a"]
