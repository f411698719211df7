"""Which version of a job's prompt and query a run reads from its bundle, as a worker does; the page's own snippet."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.dag_processing.bundles.base import BaseDagBundle
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.sdk import DAG
from upath import UPath

from greennode_emulator.server import RunningEmulator

RunSteps = Callable[..., dict[str, list[Any]]]

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "airflow-versions.md").read_text()
DAG_FILE = (
    re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    + """
from greennode_airflow.pipeline import batch_table
from greennode_batch.job import BatchJob, SqlTarget

JOB = BatchJob(
    name="own",
    source=source,
    key="id",
    model="google/gemma-4-31b-it",
    prompt=prompt,
    target=SqlTarget(conn_id="warehouse", table="answers"),
    canary=0,
)
dag = batch_table(JOB)
"""
)


class Folders(BaseDagBundle):
    """A folder for each version, such as a checkout of each commit of a repository; the newest is the last by name."""

    supports_versioning = True

    def __init__(self, *, folder: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = Path(folder)

    @property
    def path(self) -> Path:
        return self.folder / (self.version or self.get_current_version())

    def get_current_version(self) -> str:
        return max(one.name for one in self.folder.iterdir())

    def refresh(self) -> None:
        pass


class OneFolder(Folders):
    """As the folder of `LocalDagBundle`: whatever version a run began with, there is the newest alone."""

    supports_versioning = False

    @property
    def path(self) -> Path:
        return self.folder / self.get_current_version()


@pytest.fixture(params=[Folders, OneFolder])
def versions(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the bundle's versions, of either kind."""
    folder = tmp_path / "versions"
    own = {"name": "own", "classpath": f"{__name__}.{request.param.__name__}", "kwargs": {"folder": str(folder)}}
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([own]))
    return folder


def add_version(versions: Path, name: str) -> None:
    folder = versions / name
    folder.mkdir(parents=True)
    (folder / "own.py").write_text(DAG_FILE)
    (folder / "tickets.md").write_text(f"{name}: {{{{ body }}}}")
    (folder / "tickets.sql").write_text(f"SELECT id, '{name} ' || body AS body FROM questions")


def dag_of_worker(version: str | None) -> DAG:
    """The DAG as a worker reads it for a task of a run that began with this version of the bundle."""
    bundle = DagBundlesManager().get_bundle("own", version=version)
    bundle.initialize()
    bag = BundleDagBag(dag_folder=str(bundle.path / "own.py"), bundle_path=bundle.path, bundle_name="own")
    assert not bag.import_errors
    return bag.dags["own"]


def prompts_of(results: dict[str, list[Any]]) -> list[str]:
    """What the shards that a run has built ask."""
    (shards,) = results["build_requests"]
    lines = [line for shard in shards for line in UPath(shard, "requests.jsonl").read_text().splitlines()]
    return sorted(json.loads(line)["body"]["messages"][-1]["content"] for line in lines)


@pytest.fixture
def began(versions: Path, warehouse: psycopg.Connection, run_steps: RunSteps) -> dict[str, list[Any]]:
    """A run that was built while version 1 was the newest; version 2 is since. The results of its tasks."""
    warehouse.execute("CREATE TABLE questions AS SELECT i AS id, 'row ' || i AS body FROM generate_series(1, 2) i")
    add_version(versions, "v1")
    results = run_steps(dag_of_worker("v1"), only=("build_requests",))
    assert prompts_of(results) == ["v1: v1 row 1", "v1: v1 row 2"]
    add_version(versions, "v2")
    return results


def test_a_run_sends_what_was_built_whatever_its_files_say_since(
    began: dict[str, list[Any]], run_steps: RunSteps, emulator: RunningEmulator, warehouse: psycopg.Connection
) -> None:
    dag = dag_of_worker("v1")
    run_steps(dag, only={task.task_id for task in dag.tasks} - {"build_requests"}, results=began)
    # Cleared once its rows are sent, the build of either kind of bundle keeps them as they were sent.
    assert prompts_of(run_steps(dag)) == ["v1: v1 row 1", "v1: v1 row 2"]
    assert warehouse.execute("SELECT count(*) FROM answers WHERE status = 'succeeded'").fetchone() == (2,)
    assert emulator.ledger(summary=True)["requests_billed"] == 2


def test_a_build_that_is_cleared_before_it_sent_anything_reads_its_run_s_version_where_there_are_versions(
    began: dict[str, list[Any]], request: pytest.FixtureRequest, run_steps: RunSteps
) -> None:
    version = "v1" if request.node.callspec.params["versions"] is Folders else "v2"
    again = run_steps(dag_of_worker("v1"), only=("build_requests",))
    assert prompts_of(again) == [f"{version}: {version} row 1", f"{version}: {version} row 2"]


def test_a_new_run_reads_the_newest_version(began: dict[str, list[Any]], run_steps: RunSteps) -> None:
    new = run_steps(dag_of_worker("v2"), only=("build_requests",), run_id="manual__2")
    assert prompts_of(new) == ["v2: v2 row 1", "v2: v2 row 2"]
