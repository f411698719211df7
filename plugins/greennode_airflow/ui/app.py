"""The page's routes. What is sent back is bounded, and what reads staging or the database runs off the event loop."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Response, status
from pydantic import BaseModel, Field

from greennode_airflow.runtime.runs import staging_root
from greennode_airflow.ui.access import EditDag, IsEditor, ReadableDags, ReadDag, of_this_page
from greennode_airflow.ui.airflow_runs import AirflowRun, find_run, note_cancel
from greennode_airflow.ui.connections import Connections
from greennode_airflow.ui.views import Views
from greennode_batch.errors import GreenNodeError
from greennode_batch.monitor.cancel import cancel_batches
from greennode_batch.monitor.failed_rows import failed_rows
from greennode_batch.monitor.staged_dags import Pipeline, StagedDags

log = logging.getLogger(__name__)

_STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_HEADERS = {
    # Nothing but what is served here, and in no other site's frame.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_CANCELLED_AT_ONCE = 40

RunId = Annotated[str, Query(min_length=1, max_length=250)]
Group = Annotated[str, Query(max_length=250)]
Search = Annotated[str, Query(max_length=200)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Limit = Annotated[int, Query(ge=1, le=100)]
State = Annotated[Literal["queued", "running", "success", "failed"] | None, Query()]
StageFilter = Annotated[
    Literal["built", "refused", "sent", "cancelling", "collected", "lost", "with_failures"] | None, Query()
]


class CancelRequest(BaseModel):
    """Which batches to cancel: of one shard, or of all that are under way, from a place among the run's shards on."""

    attempt: int | None = Field(default=None, ge=1)
    shard_id: str | None = Field(default=None, max_length=64)
    start: int = Field(default=0, ge=0)


def make_app(views: Views | None = None) -> FastAPI:
    """The app, to be mounted by the API server. views: for tests; the staging area of this Airflow by default."""
    views = views or Views(StagedDags(staging_root()), Connections())
    app = FastAPI(title="GreenNode batches", docs_url=None, redoc_url=None, openapi_url=None)
    # Every route asks for a login first, whatever else it asks for.
    app.include_router(_pages(), dependencies=[Depends(get_user)])
    app.include_router(_reading(views), prefix="/api", dependencies=[Depends(get_user)])
    app.include_router(_acting(views), prefix="/api", dependencies=[Depends(get_user), Depends(of_this_page)])
    return app


def _pages() -> APIRouter:
    router = APIRouter()
    files = {path.name: path for path in _STATIC.iterdir() if path.suffix in _TYPES}

    @router.get("/")
    def runs_page() -> Response:
        return _file(files["index.html"])

    @router.get("/run")
    def run_page() -> Response:
        return _file(files["run.html"])

    @router.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in files:
            raise HTTPException(status.HTTP_404_NOT_FOUND)
        return _file(files[name])

    return router


def _reading(views: Views) -> APIRouter:
    router = APIRouter()

    @router.get("/runs")
    def runs(
        *,
        session: SessionDep,
        readable: ReadableDags,
        dag_id: Annotated[str | None, Query(max_length=250)] = None,
        state: State = None,
        search: Search = "",
        offset: Offset = 0,
        limit: Limit = 20,
    ) -> Response:
        listed = views.run_list(
            session, readable, dag_id=dag_id, state=state, search=search.strip(), offset=offset, limit=limit
        )
        return _json(listed)

    @router.get("/run")
    def run(session: SessionDep, dag_id: ReadDag, run_id: RunId, is_editor: IsEditor, group: Group = "") -> Response:
        found, pipeline = _find(views, session, dag_id, run_id, group)
        return _json(views.run_detail(session, found, pipeline, may_edit=is_editor))

    @router.get("/shards")
    def shards(
        *,
        session: SessionDep,
        dag_id: ReadDag,
        run_id: RunId,
        group: Group = "",
        stage: StageFilter = None,
        search: Search = "",
        offset: Offset = 0,
        limit: Limit = 25,
    ) -> Response:
        found, pipeline = _find(views, session, dag_id, run_id, group)
        listed = views.shard_list(
            session, found, pipeline, stage=stage, search=search.strip(), offset=offset, limit=limit
        )
        return _json(listed)

    @router.get("/failed-rows")
    def rows(
        session: SessionDep,
        dag_id: ReadDag,
        run_id: RunId,
        group: Group = "",
        row_status: Annotated[str | None, Query(max_length=40)] = None,
    ) -> Response:
        found, pipeline = _find(views, session, dag_id, run_id, group)
        return _json(failed_rows(views.folder(found, pipeline), views.staged(found, pipeline), status=row_status))

    return router


def _acting(views: Views) -> APIRouter:
    router = APIRouter()

    @router.post("/cancel")
    def cancel(
        *,
        session: SessionDep,
        user: GetUserDep,
        dag_id: EditDag,
        run_id: RunId,
        wanted: CancelRequest,
        group: Group = "",
    ) -> Response:
        found, pipeline = _find(views, session, dag_id, run_id, group)
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
        views.connections.live(staged.conn_id).forget(batch_ids)
        words = f"{done.asked} batches were asked to end, {len(done.failed)} could not be: {', '.join(batch_ids)}"
        log.info("%s %s: %s by %s", dag_id, run_id, words, user.get_name())
        note_cancel(session, found, user.get_name(), words)
        return _json({"asked": done.asked, "failed": done.failed, "next": later[0][0] if later else None})

    return router


def _find(views: Views, session: Any, dag_id: str, run_id: str, group: str) -> tuple[AirflowRun, Pipeline]:
    """The run, and the job that it is of. 404 where there is none."""
    jobs = views.dags.by_dag().get(dag_id, ())
    pipeline = next((job for job in jobs if job.group == group), None)
    found = find_run(session, dag_id, run_id)
    if found is None or pipeline is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Airflow has no such run of a GreenNode job (any more)")
    return found, pipeline


def _file(path: Path) -> Response:
    return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers=_HEADERS)


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers=_HEADERS)
