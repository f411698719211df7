from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
import psycopg
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.openlineage import conf as openlineage_conf
from airflow.providers.openlineage.plugins.listener import OpenLineageListener
from airflow.sdk import DAG
from airflow.sdk.listener import get_listener_manager
from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel

from greennode_emulator.answers import answer_for
from greennode_emulator.server import RunningEmulator
from greennode_local.samples import SAMPLES, data_of, load

DAGS = Path(__file__).parents[2] / "dags"
JOBS = Path(__file__).parents[2] / "include" / "jobs"
MODEL = "google/gemma-4-31b-it"


@pytest.fixture(scope="session")
def _metadata() -> None:
    """Airflow's own database: SQLite in the tests' AIRFLOW_HOME."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)


@pytest.fixture
def deployment(
    _metadata: None, database: str, emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Connections to a warehouse and the emulator; returns the staging folder of the pipeline."""
    warehouse = conninfo_to_dict(database)
    connections = {
        "WAREHOUSE": {
            "conn_type": "postgres",
            "host": warehouse["host"],
            "port": int(warehouse["port"]),
            "login": warehouse["user"],
            "password": warehouse["password"],
            "schema": warehouse["dbname"],
        },
        "GREENNODE_DEFAULT": {"conn_type": "greennode", "host": emulator.base_url, "password": emulator.api_key},
    }
    for conn_id, connection in connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id}", json.dumps(connection))
    staging = tmp_path / "staging"
    monkeypatch.setenv("AIRFLOW__GREENNODE__STAGING", f"file://{staging}")
    return staging


@pytest.fixture
def dag_bag() -> DagBag:
    """All DAGs of the project. Read anew for each test: dag.test() keeps a run's conf in the DAG's params."""
    return DagBag(str(DAGS))


@pytest.fixture
def run_dag(deployment: Path, dag_bag: DagBag) -> Callable[..., str]:
    """Run a DAG in this process, without retries; its end state."""

    def run(dag_id: str, **conf: Any) -> str:
        dag = dag_bag.get_dag(dag_id)
        assert dag is not None, dag_bag.import_errors
        for task in dag.tasks:
            task.retries = 0
        return dag.test(run_conf=conf).state

    return run


@pytest.fixture
def run_file(deployment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Run the DAG `own` of a file with this text, once; the states of its tasks, and of the run under "".

    options: of dag.test(). With the dates of a run before, it is that run again, as if all tasks were cleared.
    """
    # dag.test() writes a bundle's DAGs to the database, so the folder must be one.
    folder = tmp_path / "own_dags"
    bundle = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [{"name": "own", "classpath": bundle, "kwargs": {"path": str(folder)}}]
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(bundles))

    def run(text: str, **options: Any) -> dict[str, str]:
        folder.mkdir(exist_ok=True)
        (folder / "own.py").write_text(text)
        bag = DagBag(str(folder))
        assert not bag.import_errors
        dag = bag.get_dag("own")
        assert dag is not None
        ended = dag.test(**options)
        return {"": str(ended.state), **{task.task_id: str(task.state) for task in ended.get_task_instances()}}

    return run


@pytest.fixture
def warehouse(database: str) -> psycopg.Connection:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def tickets(database: str) -> int:
    """The sample tickets are loaded; how many they are."""
    sample = SAMPLES["support_tickets"]
    with psycopg.connect(database) as connection:
        return load(connection, sample, data_of(sample, None))


@pytest.fixture
def expected_answer() -> Callable[..., dict[str, Any]]:
    """What the emulated model answers a row, by way of plain Jinja and none of the engine's code."""

    def expect(
        prompt: str, row: Mapping[str, Any], answer: type[BaseModel], *, model: str = MODEL, **params: Any
    ) -> dict[str, Any]:
        template = jinja2.Environment().from_string((JOBS / prompt).read_text())
        text = template.render({name: "" if value is None else value for name, value in row.items()})
        body = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            **params,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": answer.__name__, "schema": answer.model_json_schema()},
            },
        }
        return json.loads(answer_for(body).content)

    return expect


@pytest.fixture
def lineage_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """OpenLineage's provider listens and writes to a file; the events that it has written, of tasks that ended."""
    # Before there is a transport: otherwise the provider's plugin brings a second listener, which stays.
    manager = get_listener_manager()
    file = tmp_path / "lineage.jsonl"
    file.touch()
    transport = {"type": "file", "log_file_path": str(file), "append": True}
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
    # A process that is forked here would have the threads of other fixtures' servers, halted.
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD", "True")
    for setting in vars(openlineage_conf).values():
        if hasattr(setting, "cache_clear"):
            setting.cache_clear()
    listener = OpenLineageListener()
    manager.add_listener(listener)

    def events() -> list[dict[str, Any]]:
        told = [json.loads(line) for line in file.read_text().splitlines()]
        return [event for event in told if event["eventType"] in {"COMPLETE", "FAIL"}]

    yield events
    manager.pm.unregister(listener)


@pytest.fixture(autouse=True)
def _quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """dag.test() sleeps for a second in each round with nothing to run, as where tasks are mapped: six in a run."""
    sleep = time.sleep
    rounds = inspect.unwrap(DAG.test).__code__

    def quick(seconds: float) -> None:
        sleep(min(seconds, 0.05) if sys._getframe(1).f_code is rounds else seconds)

    monkeypatch.setattr(time, "sleep", quick)


@pytest.fixture(autouse=True)
def _no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
