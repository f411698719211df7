from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.models.dagrun import DagRun
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunType
from sqlalchemy import delete

from greennode_batch.staging.folders import run_folder
from greennode_batch.state.run_identity import note_run

DAG_ID = "tickets.2024"
OLD = 1_000_000_000.0
RunDag = Callable[..., str]


def make_old(folder: Path) -> None:
    for file in folder.rglob("*"):
        os.utime(file, (OLD, OLD))


@pytest.fixture
def make_run(deployment: Path) -> Callable[..., Path]:
    """Makes the old files of a run; where they lie. Airflow is told of the run in the DAG's own database."""

    def make(run_id: str, *, known: bool = True) -> Path:
        run = run_folder(deployment, DAG_ID, run_id)
        if known:
            note_run(run, dag_id=DAG_ID, run_id=run_id)
        folder = Path(run.path.path)
        (folder / "shards" / "abc").mkdir(parents=True)
        (folder / "shards" / "abc" / "results.parquet").write_text("x" * 2_000_000)
        (folder / "plan.json").write_text("{}")
        (folder / "report.json").write_text("{}")
        make_old(folder)
        return folder

    return make


@pytest.fixture
def in_airflow(_metadata: None) -> Iterator[Callable[[str, DagRunState], None]]:
    """Puts a run into Airflow's database."""

    def add(run_id: str, state: DagRunState) -> None:
        with create_session() as session:
            session.add(DagRun(dag_id=DAG_ID, run_id=run_id, run_type=DagRunType.MANUAL, state=state))

    yield add
    with create_session() as session:
        session.execute(delete(DagRun).where(DagRun.dag_id == DAG_ID))


@pytest.fixture
def runs(make_run: Callable[..., Path], in_airflow: Callable[[str, DagRunState], None]) -> dict[str, Path]:
    """One old run of each state, by a name; and one that Airflow does not have any more."""
    folders = {}
    for state in DagRunState:
        run_id = f"manual__{state}+00:00"
        folders[str(state)] = make_run(run_id)
        in_airflow(run_id, state)
    return {**folders, "deleted": make_run("manual__deleted+00:00")}


def whole(folder: Path) -> bool:
    return (folder / "plan.json").exists() and (folder / "shards" / "abc" / "results.parquet").exists()


def test_only_finished_runs_are_removed_and_their_reports_stay(
    run_dag: RunDag, runs: dict[str, Path], make_run: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    foreign = make_run("foreign", known=False)
    assert run_dag("greennode_maintenance") == "success"
    assert {name for name, folder in runs.items() if not whole(folder)} == {"success", "failed", "deleted"}
    for name in ("success", "failed", "deleted"):
        assert sorted(orphaned.name for orphaned in runs[name].iterdir()) == ["removed.json", "report.json"]
    assert whole(foreign)
    log = "".join(capfd.readouterr())
    assert f"Removed: {DAG_ID} manual__success+00:00 (success, 2.0 MB)" in log
    assert f"Removed: {DAG_ID} manual__deleted+00:00 (deleted from Airflow, 2.0 MB)" in log
    assert f"Left: {DAG_ID} manual__running+00:00 is running" in log
    assert "3 runs older than 30 days, 6.0 MB" in log


def test_a_dry_run_lists_and_removes_nothing(
    run_dag: RunDag, runs: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_dag("greennode_maintenance", dry_run=True) == "success"
    assert all(whole(folder) for folder in runs.values())
    assert f"Would remove: {DAG_ID} manual__failed+00:00 (failed, 2.0 MB)" in "".join(capfd.readouterr())


@pytest.mark.parametrize("conf", [{"dryrun": True}, {"Dry-Run": True}, {"dry": True}, {"dry_run": False, "days": 1}])
def test_a_mistyped_dry_run_removes_nothing(
    run_steps: Callable[..., Any], read_dag: Callable[[str], DAG], make_run: Callable[..., Path], conf: dict[str, Any]
) -> None:
    folder = make_run("manual__old")
    with pytest.raises(AirflowFailException, match=r"There are dry_run\. .* or removed"):
        run_steps(read_dag("greennode_maintenance"), conf=conf)
    assert whole(folder)


@pytest.mark.parametrize(("days", "stays"), [("0", True), ("100000", True), ("1", False)])
def test_the_days_are_a_setting_and_none_means_for_ever(
    run_dag: RunDag,
    runs: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    days: str,
    stays: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setenv("AIRFLOW__GREENNODE__STAGING_RETENTION_DAYS", days)
    assert run_dag("greennode_maintenance") == "success"
    assert whole(runs["success"]) == stays


def test_the_files_of_a_probe_are_those_of_a_run_like_any_other(run_dag: RunDag, deployment: Path) -> None:
    run_dag("greennode_probe", wait_seconds=30)
    (folder,) = deployment.glob("greennode_probe/*/probe")
    assert run_dag("greennode_maintenance") == "success"
    assert folder.exists(), "it is young"
    make_old(deployment)
    assert run_dag("greennode_maintenance") == "success"
    assert not folder.exists()
    assert [orphaned.name for orphaned in folder.parent.iterdir()] == ["removed.json"]


def test_it_runs_every_day_and_does_not_catch_up(dag_bag: DagBag) -> None:
    dag = dag_bag.dags["greennode_maintenance"]
    assert (dag.schedule, dag.catchup, dag.max_active_runs) == ("@daily", False, 1)
    assert dag.params.dump() == {"dry_run": False}
