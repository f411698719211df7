"""Which folder a run has, as its tasks find it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from greennode_airflow.runtime.runs import begin_run, run_of
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.run_identity import RunIdentity, earlier_runs, identity_of, note_run

FIRST, LATER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__GREENNODE__STAGING", f"file://{tmp_path}/staging")


def a_context(started: datetime | None = FIRST, *, cleared: int = 0, tries: int = 1, dag_id: str = "tickets") -> Any:
    run = SimpleNamespace(dag_id=dag_id, run_id="daily", start_date=started, clear_number=cleared)
    return {"dag_run": run, "ti": SimpleNamespace(try_number=tries), "params": {}}


def build(context: Any, prefix: str = "") -> RunFolder:
    run = begin_run(context, prefix, conn_id="greennode_default", is_first=True)
    run.plan.write_text("{}")
    return run


@pytest.mark.parametrize("prefix", ["", "labels"])
def test_all_tasks_of_a_run_find_the_folder_that_it_began_in(prefix: str) -> None:
    run = build(a_context(), prefix)
    again = [
        a_context(),
        a_context(tries=2),
        a_context(LATER, cleared=1, tries=2),
        a_context(LATER, cleared=3, tries=5),
    ]
    for context in again:
        assert (
            build(context, prefix).path == begin_run(context, prefix).path == run_of(context, prefix).path == run.path
        )


@pytest.mark.parametrize("prefix", ["", "labels"])
def test_a_run_that_was_deleted_and_made_again_has_a_folder_apart_and_so_has_the_next(prefix: str) -> None:
    first = build(a_context(), prefix)
    # As several parts of its source, each of which begins it.
    others = {str(begin_run(a_context(LATER), prefix, is_first=True)) for _ in range(3)}
    second = build(a_context(LATER), prefix)
    assert others == {str(second)} != {str(first)}
    latest = build(a_context(FIRST.replace(year=2027)), prefix)
    assert [str(run) for run in earlier_runs(latest)] == [str(second), str(first)]
    assert run_of(a_context(cleared=1, tries=2), prefix).path == latest.path
    assert (first.plan.exists(), first.name) == (True, latest.name)
    assert identity_of(latest).earlier == second.path.name


def test_of_a_version_before_it_is_told_by_the_first_try_of_what_builds_it() -> None:
    run = build(a_context())
    for context, is_first, is_same in (
        (a_context(LATER), False, True),
        (a_context(LATER, tries=2), True, True),
        (a_context(LATER, cleared=1), True, True),
        (a_context(LATER), True, False),
    ):
        note_run(run, dag_id="tickets", run_id="daily")
        assert identity_of(run) == RunIdentity("tickets", "daily", "greennode_default")
        assert (begin_run(context, is_first=is_first).path == run.path) is is_same


def test_a_run_of_a_dag_with_a_dot_and_one_of_a_group_are_apart() -> None:
    assert build(a_context(dag_id="a.b")).path != build(a_context(dag_id="a"), "b").path
