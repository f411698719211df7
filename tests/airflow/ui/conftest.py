"""The page's app in this process: Airflow's own login and permissions, its database as SQLite, staging on disk."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from airflow.api_fastapi.app import init_auth_manager, purge_cached_app
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.auth.middlewares.refresh_token import JWTRefreshMiddleware
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import delete
from upath import UPath

from greennode_airflow.failures import FAILURE_KEY
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.ui.app import make_app
from greennode_airflow.ui.page_connections import Connections
from greennode_airflow.ui.views import Views
from greennode_batch.api.polling.polling import Wait
from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.submit import submit
from greennode_batch.batches.wait import poll
from greennode_batch.collect.collect import collect_shard
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.monitor import live_batches
from greennode_batch.monitor.staged_dags import StagedDags
from greennode_batch.plan.build import build
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import RunFolder, run_folder
from greennode_batch.state.plan import Plan
from greennode_batch.state.receipts import Receipt
from greennode_batch.state.run_identity import note_run
from greennode_local.ports import free_port

MODEL = "google/gemma-4-31b-it"
BUNDLE = "testing"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "pictures" in (config.option.markexpr or ""):
        return
    pictures = [item for item in items if item.get_closest_marker("pictures")]
    items[:] = [item for item in items if item not in pictures]
    config.hook.pytest_deselected(items=pictures)


@pytest.fixture(scope="session")
def _metadata() -> None:
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)


@pytest.fixture
def session(_metadata: None) -> Iterator[Any]:
    """Airflow's database, with no DAG and no run in it."""
    with create_session(scoped=False) as session:
        for model in (XComModel, TaskInstance, DagRun, DagModel, Log):
            session.execute(delete(model))
        session.merge(DagBundleModel(name=BUNDLE))
        session.commit()
        yield session


@pytest.fixture
def staging(tmp_path: Path) -> UPath:
    return UPath(tmp_path / "staging")


@pytest.fixture
def add_run(session: Any) -> Callable[..., str]:
    """Put a DAG run into Airflow's database, and its DAG if that is new; its id.

    age, lasted: seconds. tasks: (task id, map index, state) of its task instances, and the error of one that failed.
    """
    began = datetime.now(UTC)
    count = iter(range(10_000))

    def add(
        dag_id: str,
        run_id: str | None = None,
        *,
        state: str = "success",
        age: float = 0,
        lasted: float = 420,
        tasks: Any = (),
        conf: Any = None,
        is_paused: bool = False,
    ) -> str:
        if session.get(DagModel, dag_id) is None:
            session.add(
                DagModel(
                    dag_id=dag_id,
                    bundle_name=BUNDLE,
                    max_active_tasks=16,
                    max_active_runs=1,
                    max_consecutive_failed_dag_runs=0,
                    has_task_concurrency_limits=False,
                    is_stale=False,
                    is_paused=is_paused,
                )
            )
        number = next(count)
        when = began + timedelta(milliseconds=number) - timedelta(seconds=age)
        run_id = run_id or f"manual__{when.isoformat()}"
        run = DagRun(dag_id=dag_id, run_id=run_id, run_after=when, run_type="manual", state=state, start_date=when)
        run.end_date = when + timedelta(seconds=lasted) if state in {"success", "failed"} else None
        run.conf = conf or {}
        session.add(run)
        session.flush()
        for task_id, map_index, task_state, *error in tasks:
            session.execute(
                TaskInstance.__table__.insert().values(
                    id=uuid.uuid4(), dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index,
                    state=task_state, pool="default_pool", pool_slots=1, try_number=1,
                    end_date=when if task_state == "failed" else None,
                )
            )  # fmt: skip
            for kind, words in error:
                session.add(
                    XComModel(
                        dag_run_id=run.id, dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index,
                        key=FAILURE_KEY, value={"kind": kind, "error": words},
                    )
                )  # fmt: skip
        session.commit()
        return run_id

    return add


@pytest.fixture
def note_act(session: Any) -> Callable[..., None]:
    """Write an act of a person's into Airflow's audit log, as its API does."""

    def note(
        dag_id: str, run_id: str, event: str, *, owner: str = "ann", task_id: str | None = None, **said: Any
    ) -> None:
        entry = Log(event=event, owner=owner, extra=json.dumps(said), dag_id=dag_id, run_id=run_id)
        entry.task_id = task_id
        session.add(entry)
        session.commit()

    return note


@pytest.fixture
def build_run(staging: UPath) -> Callable[..., tuple[RunFolder, Plan]]:
    """Build the staging folder of a run from (key, text) rows, a shard for each `per_shard` of them."""

    def make(
        folder: str, run_id: str, rows: Any, *, per_shard: int = 1000, identity: str | None = None, **job: Any
    ) -> tuple[RunFolder, Plan]:
        run = run_folder(staging, folder, run_id)
        note_run(run, dag_id=identity or folder, run_id=run_id, conn_id="greennode_default")
        columns = ("ticket", "text")
        declared = BatchJob(
            **{
                "name": folder,
                "source": FileSource(path="rows.parquet"),
                "target": FileTarget(path="answers.parquet"),
                "key": "ticket",
                "model": MODEL,
                "prompt": "{{ text }}",
                **job,
            }
        )
        plan = build(
            declared,
            lambda: Rows.from_tuples(columns, iter([list(rows)])),
            run,
            run_id=run_id,
            profile=ApiProfile(max_requests=per_shard),
        )
        return run, plan

    return make


@pytest.fixture
def submit_all() -> Callable[..., list[str]]:
    """Create the batches of the run's first attempt at `greennode_default`; their ids."""

    def submit_them(run: RunFolder, plan: Plan) -> list[str]:
        with GreenNodeHook().get_conn() as client:
            receipts = [submit(run.shard(shard.shard_id), client) for shard in plan.shards if shard.requests]
        return [receipt.batch_id for receipt in receipts]

    return submit_them


@pytest.fixture
def collect_all() -> Callable[..., None]:
    """Collect all that was submitted."""

    def collect_them(run: RunFolder, plan: Plan) -> None:
        with GreenNodeHook().get_conn() as client:
            for shard in plan.shards:
                folder = run.shard(shard.shard_id)
                while isinstance(poll(folder, client, now=time.time()), Wait):
                    pass
                collect_shard(folder, client, None)

    return collect_them


@pytest.fixture
def pretend_sent() -> Callable[..., None]:
    """Write the receipts of shards whose batches are at the server, or collected, with none of their files."""

    def write(run: RunFolder, shard_ids: Sequence[str], *, collected: bool = False, age: float = 120) -> None:
        for number, shard_id in enumerate(shard_ids):
            receipt = Receipt(
                shard_id=shard_id,
                state="collected" if collected else "created",
                file_id=f"file-{number}",
                server="api.test",
                batch_id=f"batch_{shard_id}",
                uploaded_at=1.0,
                created_at=time.time() - age,
                statuses={"succeeded": 2} if collected else {},
                prompt_tokens=80 if collected else 0,
                completion_tokens=24 if collected else 0,
            )
            # Not as the engine does: a thousand files that are flushed to disk take their time.
            path = Path(run.shards.path) / shard_id / "receipt.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(msgspec.json.encode(receipt))

    return write


@pytest.fixture
def live_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server says of batches is there at the first look."""
    monkeypatch.setattr(live_batches, "_in_a_thread", lambda work: work())


@pytest.fixture
def client_of(session: Any, staging: UPath, tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """A browser that is logged in with a role of Airflow's simple auth manager, or with none."""
    app = FastAPI()
    auth_manager = init_auth_manager(app)
    app.mount("/greennode", make_app(Views(StagedDags(staging), Connections())))
    app.add_middleware(JWTRefreshMiddleware)

    def browser(role: str | None) -> TestClient:
        browser = TestClient(app, base_url="http://localhost", follow_redirects=False)
        if role is not None:
            user = SimpleAuthManagerUser(username=role, role=role)
            browser.cookies.set(COOKIE_NAME_JWT_TOKEN, auth_manager.generate_jwt(user))
        return browser

    yield browser
    purge_cached_app()


@pytest.fixture
def page_url(client_of: Callable[..., TestClient]) -> Iterator[str]:
    """The address of the page, served on loopback."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(client_of(None).app, port=port, log_level="warning"))
    served = threading.Thread(target=server.run)
    served.start()
    yield f"http://127.0.0.1:{port}/greennode/"
    server.should_exit = True
    served.join()


@pytest.fixture
def errors_expected() -> bool:
    """For a test in which the console speaks of a reply that is an error."""
    return True


@pytest.fixture
def open_page(
    request: pytest.FixtureRequest, browser: Any, client_of: Callable[..., TestClient], page_url: str
) -> Iterator[Callable[..., Any]]:
    """Opens an address below the page's, logged in with a role; a Playwright page. What its console says is an error.

    options: of the browser's context, as `viewport` or `color_scheme`.
    """
    contexts: list[Any] = []
    problems: list[str] = []

    def note(said: Any) -> None:
        # Airflow's own pages have an icon; what a browser asks for in its place is none of the page's.
        if said.type == "error" and "favicon" not in said.location["url"]:
            problems.append(said.text)

    def open_it(address: str = "", *, role: str = "user", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        login = client_of(role).cookies[COOKIE_NAME_JWT_TOKEN]
        context.add_cookies([{"name": COOKIE_NAME_JWT_TOKEN, "value": login, "url": page_url}])
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(page_url + address)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert problems == [] or "errors_expected" in request.fixturenames
