"""The page's routes. Replies are bounded, and work on staging or the database runs outside the event loop."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import msgspec
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response, status
from pydantic import BaseModel, Field

from greennode_airflow.runtime.runs import staging_root
from greennode_airflow.ui.access import EditDag, IsEditor, IsLogReader, ReadableDags, ReadDag, of_this_page
from greennode_airflow.ui.airflow_runs import AirflowRun, find_run
from greennode_airflow.ui.audit_log import note_cancel
from greennode_airflow.ui.manual import PICTURES, manual_files, manual_page
from greennode_airflow.ui.page_connections import Connections
from greennode_airflow.ui.reports import read_report
from greennode_airflow.ui.views import RunsWanted, ShardsWanted, Views
from greennode_batch.errors import GreenNodeError
from greennode_batch.monitor.answer_sample import answer_sample
from greennode_batch.monitor.cancel import cancel_batches
from greennode_batch.monitor.failed_rows import failed_rows
from greennode_batch.monitor.staged_dags import Pipeline, StagedDags

log = logging.getLogger(__name__)

_STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_FILES = {path.name: path for path in _STATIC.iterdir() if path.suffix in _TYPES}
_HEADERS = {
    # Only content that is served here, and in no other site's frame.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_REPORT_HEADERS = {
    **_HEADERS,
    # A report has its own style and nothing else: no script runs in it, and it has no origin.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'self'; sandbox"
    ),
}
_CANCELLED_AT_ONCE = 40

RunId = Annotated[str, Query(min_length=1, max_length=250)]
Group = Annotated[str, Query(max_length=250)]


class CancelRequest(BaseModel):
    """Which batches to cancel: of one shard, or all that are under way, from an index among the run's shards on."""

    attempt: int | None = Field(default=None, ge=1)
    shard_id: str | None = Field(default=None, max_length=64)
    start: int = Field(default=0, ge=0)


_pages, _reading, _acting = APIRouter(), APIRouter(), APIRouter()


def make_app(views: Views | None = None) -> FastAPI:
    """The app, for the API server to mount. views: for tests; by default those of this Airflow's staging area."""
    app = FastAPI(title="GreenNode batches", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.views = views or Views(StagedDags(staging_root()), Connections())
    # Every route first requires a login.
    app.include_router(_pages, dependencies=[Depends(get_user)])
    app.include_router(_reading, prefix="/api", dependencies=[Depends(get_user)])
    app.include_router(_acting, prefix="/api", dependencies=[Depends(get_user), Depends(of_this_page)])
    return app


def _views(request: Request) -> Any:
    return request.app.state.views


PageViews = Annotated[Views, Depends(_views)]


def find_job(
    session: SessionDep, views: PageViews, dag_id: ReadDag, run_id: RunId, group: Group | None = None
) -> tuple[AirflowRun, Pipeline]:
    """The requested run and its job, by default the DAG's first. 404 if there is none."""
    jobs = views.dags.by_dag().get(dag_id, ())
    pipeline = next((job for job in jobs if group is None or job.group == group), None)
    found = find_run(session, dag_id, run_id)
    if found is None or pipeline is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Airflow has no such run of a GreenNode job (any more)")
    return found, pipeline


ReadJob = Annotated[tuple[AirflowRun, Pipeline], Depends(find_job)]


@_pages.get("/")
def _runs_page() -> Response:
    return _static("index.html")


@_pages.get("/run")
def _run_page() -> Response:
    return _static("run.html")


@_pages.get("/static/{name}")
def _static(name: str) -> Response:
    path = _FILES.get(name)
    if path is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND)
    return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers=_HEADERS)


@_pages.get("/manual/{name:path}")
def _manual(name: str) -> Response:
    path = manual_files().get(name)
    if path is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"the manual has no page {name}")
    if path.suffix in PICTURES:
        return Response(path.read_bytes(), media_type=PICTURES[path.suffix], headers=_HEADERS)
    return Response(manual_page(name), media_type="text/html", headers=_HEADERS)


@_pages.get("/report")
def _report(
    views: PageViews, dag_id: ReadDag, run_id: RunId, name: Annotated[str, Query(max_length=40)], group: Group = ""
) -> Response:
    page = read_report(views.dags.root, dag_id, run_id, group, name)
    if page is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "this run has no such report (any more)")
    return Response(page, media_type="text/html", headers=_REPORT_HEADERS)


@_reading.get("/runs")
def _runs(
    session: SessionDep, views: PageViews, readable: ReadableDags, wanted: Annotated[RunsWanted, Query()]
) -> Response:
    return _json(views.run_list(session, readable, wanted))


@_reading.get("/run")
def _run(
    session: SessionDep, views: PageViews, job: ReadJob, is_editor: IsEditor, is_log_reader: IsLogReader
) -> Response:
    return _json(views.run_detail(session, *job, may_edit=is_editor, may_read_logs=is_log_reader))


@_reading.get("/shards")
def _shards(session: SessionDep, views: PageViews, job: ReadJob, wanted: Annotated[ShardsWanted, Query()]) -> Response:
    return _json(views.shard_list(session, *job, wanted))


@_reading.get("/failed-rows")
def _failed_rows(
    views: PageViews, job: ReadJob, row_status: Annotated[str | None, Query(max_length=40)] = None
) -> Response:
    return _json(failed_rows(views.folder(*job), views.staged(*job), status=row_status))


@_reading.get("/answers")
def _answers(views: PageViews, job: ReadJob) -> Response:
    return _json(answer_sample(views.folder(*job), views.staged(*job)))


@_acting.post("/cancel")
def _cancel(
    *,
    session: SessionDep,
    views: PageViews,
    user: GetUserDep,
    dag_id: EditDag,
    run_id: RunId,
    wanted: CancelRequest,
    group: Group | None = None,
) -> Response:
    found, pipeline = find_job(session, views, dag_id, run_id, group)
    staged = views.staged(found, pipeline)
    numbered = [
        (number, shard)
        for number, shard in enumerate(staged.shards)
        if number >= wanted.start
        and shard.is_open
        and wanted.shard_id in {None, shard.shard_id}
        and wanted.attempt in {None, shard.attempt}
    ]
    now, later = numbered[:_CANCELLED_AT_ONCE], numbered[_CANCELLED_AT_ONCE:]
    try:
        with views.connections.client(staged.conn_id) as client:
            done = cancel_batches([shard for _, shard in now], client)
    except GreenNodeError as error:
        raise HTTPException(status.HTTP_502_BAD_GATEWAY, str(error)) from error
    batch_ids = [shard.batch_id for _, shard in now if shard.batch_id]
    views.connections.live(staged.conn_id).ask_soon()
    words = f"{done.requested} batches were asked to end, {len(done.failed)} could not be: {', '.join(batch_ids)}"
    log.info("%s %s: %s by %s", dag_id, run_id, words, user.get_name())
    note_cancel(session, found, user.get_name(), words)
    return _json({"requested": done.requested, "failed": done.failed, "next": later[0][0] if later else None})


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers=_HEADERS)
