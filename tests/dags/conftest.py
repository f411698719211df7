from __future__ import annotations

import functools
import inspect
import json
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import psycopg
import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, DagBag, sync_bag_to_db
from airflow.providers.openlineage import conf as openlineage_conf
from airflow.providers.openlineage.plugins.listener import OpenLineageListener
from airflow.sdk import DAG
from airflow.sdk.definitions.param import process_params
from airflow.sdk.exceptions import AirflowSkipException, ErrorType, TaskDeferred
from airflow.sdk.execution_time import supervisor, task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetAssetByUri
from airflow.sdk.execution_time.context import OutletEventAccessors, set_current_context
from airflow.sdk.listener import get_listener_manager
from airflow.utils.db import initdb
from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel

from greennode_emulator.answers import answer_for
from greennode_emulator.server import RunningEmulator
from greennode_local.samples import SAMPLES, data_of, load

DAGS = Path(__file__).parents[2] / "dags"
JOBS = Path(__file__).parents[2] / "include" / "jobs"
MODEL = "google/gemma-4-31b-it"
_BEFORE_3_3 = not hasattr(supervisor.in_process_api_server, "cache_info")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs come first: in each process the first one has Airflow set up its API, which takes as long as ten runs.

    Of several that share the tests the first takes these, and the others take over from the end.
    """
    items.sort(key=lambda item: {"run_dag", "run_file"}.isdisjoint(getattr(item, "fixturenames", ())))


@pytest.fixture(scope="session", autouse=True)
def _metadata() -> None:
    """Airflow's own database: SQLite in the tests' AIRFLOW_HOME. Airflow asks it wherever a DAG runs."""
    initdb()
    # Before 3.3 Airflow sets up its API for each task of dag.test() once more.
    if _BEFORE_3_3:
        supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)


@pytest.fixture
def deployment(database: str, emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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


@pytest.fixture(scope="session")
def dag_bag() -> DagBag:
    """All DAGs of the project, to look at."""
    return DagBag(str(DAGS))


@pytest.fixture
def read_dag() -> Callable[[str], DAG]:
    """Read a DAG of the project from its file, for this test alone: dag.test() keeps a run's conf in its params."""

    def read(dag_id: str) -> DAG:
        bag = DagBag(str(DAGS / f"{dag_id}.py"))
        assert not bag.import_errors
        return bag.dags[dag_id]

    return read


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the only bundle, empty: dag.test() reads and writes to the database all DAGs of the bundles."""
    folder = tmp_path / "own_dags"
    folder.mkdir()
    bundle = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [{"name": "own", "classpath": bundle, "kwargs": {"path": str(folder)}}]
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(bundles))
    return folder


@pytest.fixture
def run_dag(_metadata: None, deployment: Path, bundle: Path, read_dag: Callable[[str], DAG]) -> Callable[..., str]:
    """Run a DAG of the project whole, as Airflow does, in this process and without retries; its end state."""

    def run(dag_id: str, **conf: Any) -> str:
        shutil.copy(DAGS / f"{dag_id}.py", bundle)
        dag = read_dag(dag_id)
        for task in dag.tasks:
            task.retries = 0
        return dag.test(run_conf=conf).state

    return run


@pytest.fixture
def own_dag(tmp_path: Path) -> Callable[[str], DAG]:
    """Make the DAG `own` of a file with this text."""
    folder = tmp_path / "own_dags"

    def make(text: str) -> DAG:
        folder.mkdir(exist_ok=True)
        (folder / "own.py").write_text(text)
        bag = DagBag(str(folder))
        assert not bag.import_errors
        return bag.dags["own"]

    return make


@pytest.fixture
def run_file(
    _metadata: None,
    deployment: Path,
    bundle: Path,
    own_dag: Callable[[str], DAG],
) -> Callable[..., dict[str, str]]:
    """Run the DAG `own` of a file with this text whole, as Airflow does: the states of its tasks, and of the run as "".

    It takes seconds. What does not depend on how Airflow goes from task to task runs by `run_steps`. options: of
    dag.test().
    """

    def run(text: str, **options: Any) -> dict[str, str]:
        dag = own_dag(text)
        if _BEFORE_3_3:
            _store_dags()
        ended = dag.test(**options)
        return {"": str(ended.state), **{task.task_id: str(task.state) for task in ended.get_task_instances()}}

    return run


def _store_dags() -> None:
    """Read the bundle's DAGs: before 3.3 dag.test() takes a DAG of that name as another test has left it."""
    bundles = DagBundlesManager()
    bundles.sync_bundles_to_db()
    for bundle in bundles.get_all_dag_bundles():
        found = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        sync_bag_to_db(found, bundle.name, bundle.version)


class _TaskInstance:
    """What a task has of Airflow, with no database: the results of the tasks before it, by their ids."""

    try_number, max_tries = 1, 0

    def __init__(self, results: Mapping[str, list[Any]], map_index: int, running: Collection[str] = ()) -> None:
        self._results = results
        self._running = running
        self.map_index = map_index

    def xcom_pull(self, *, task_ids: str, **_: Any) -> Any:
        (result,) = self._results[task_ids]
        return result

    def xcom_push(self, **_: Any) -> None:
        pass

    def get_dagrun_state(self, *, dag_id: str, run_id: str) -> str:
        return "running" if run_id in self._running else "success"

    def get_task_states(
        self, *, dag_id: str, task_ids: Collection[str], run_ids: list[str], map_index: int | None = None
    ) -> dict[str, Any]:
        """Those that ran are a success, for the first error ends the steps."""
        return {run_ids[0]: {name: "success" if name in self._results else None for name in task_ids}}


class _States(dict[str, Any]):
    set = dict.__setitem__


class _NoAssets:
    """Airflow's API, in which no DAG has declared an asset."""

    def send(self, message: Any, **_: Any) -> ErrorResponse:
        assert isinstance(message, GetAssetByUri)
        return ErrorResponse(error=ErrorType.ASSET_NOT_FOUND)


@pytest.fixture
def run_steps(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, list[Any]]]:
    """Run a DAG's tasks one after the other, without Airflow's database: the results of each, by its id.

    Airflow makes the DAG, maps and renders its tasks; the first error is raised. A task that would wait in the
    triggerer is tried again at once. only: some of the tasks. results: of those that ran before. conf: what the
    run's form chose. values: more of the context, such as a partition key. run_id: the same one again is that run,
    with its tasks cleared, unless it was started at another moment. running: the ids of other runs that are; a build
    that waits for one raises TaskDeferred. may_skip: whether a task that skips itself is no error.
    """

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", _NoAssets(), raising=False)

    def run(
        dag: DAG,
        *,
        only: Collection[str] | None = None,
        results: Mapping[str, list[Any]] | None = None,
        conf: Mapping[str, Any] | None = None,
        run_id: str = "manual__1",
        started: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        values: Mapping[str, Any] | None = None,
        running: Collection[str] = (),
        run_type: str = "manual",
        may_skip: bool = False,
    ) -> dict[str, list[Any]]:
        done = defaultdict(list, results or {})
        of_run = SimpleNamespace(
            dag_id=dag.dag_id,
            run_id=run_id,
            conf=dict(conf or {}),
            start_date=started,
            clear_number=0,
            run_type=run_type,
        )
        params = process_params(dag, dag.tasks[0], of_run.conf, suppress_exception=False)
        for task in dag.topological_sort():
            if only is not None and task.task_id not in only:
                continue
            indexes = _indexes(task, done)
            done[task.task_id] = [
                _result_of(
                    task,
                    dag,
                    of_run,
                    {"params": params, **(values or {})},
                    _TaskInstance(done, index, running),
                    may_skip=may_skip,
                )
                for index in indexes
            ]
        return dict(done)

    return run


@pytest.fixture
def run_own(own_dag: Callable[[str], DAG], run_steps: Callable[..., Any]) -> Callable[..., dict[str, list[Any]]]:
    """Run the steps of the DAG `own` of a file with this text."""
    return lambda text, **options: run_steps(own_dag(text), **options)


def _indexes(task: Any, results: Mapping[str, list[Any]]) -> Collection[int]:
    """The map indexes of a task, once those before it have run."""
    group = task.get_closest_mapped_task_group()
    if not task.is_mapped and group is None:
        return (-1,)
    (over,) = (task.expand_input if task.is_mapped else group._expand_input).value.values()
    return range(len(over if isinstance(over, list) else over.resolve({"ti": _TaskInstance(results, -1)})))


def _result_of(
    task: Any, dag: DAG, run: Any, values: Mapping[str, Any], instance: _TaskInstance, *, may_skip: bool
) -> Any:
    context: Any = {
        "dag": dag,
        "dag_run": run,
        "run_id": run.run_id,
        **values,
        "ti": instance,
        "task": task.prepare_for_execution(),
        "task_state_store": _States(),
        "outlet_events": OutletEventAccessors(),
    }
    # Of a mapped task it puts the one of this place into the context.
    context["task"].render_template_fields(context)
    while True:
        try:
            with set_current_context(context):
                return context["task"].execute(context)
        except TaskDeferred as waits:
            if waits.method_name == "build_again":
                raise
        except AirflowSkipException:
            if not may_skip:
                raise
            return None


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
