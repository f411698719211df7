"""Access: who may see and do what on the page. Airflow mounts a plugin's app without any login.

So at each request, every route checks the user with Airflow's login, and the user's rights with Airflow's permissions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, Header, HTTPException, Query, Request, status

DagId = Annotated[str, Query(min_length=1, max_length=250)]


def readable_dags(user: GetUserDep) -> set[str]:
    """The ids of the DAGs that this user may read."""
    return get_auth_manager().get_authorized_dag_ids(user=user, method="GET")


def may_read(dag_id: DagId, request: Request, user: GetUserDep) -> str:
    """The requested DAG. 403 unless this user may read its runs."""
    _require("GET", DagAccessEntity.RUN, dag_id, request, user)
    return dag_id


def may_edit(dag_id: DagId, request: Request, user: GetUserDep) -> str:
    """The requested DAG. 403 unless this user may edit it."""
    _require("PUT", None, dag_id, request, user)
    return dag_id


def is_editor(dag_id: DagId, request: Request, user: GetUserDep) -> bool:
    """Whether this user may edit the requested DAG."""
    try:
        may_edit(dag_id, request, user)
    except HTTPException:
        return False
    return True


def is_log_reader(dag_id: DagId, request: Request, user: GetUserDep) -> bool:
    """Whether this user may read the logs of its tasks."""
    try:
        _require("GET", DagAccessEntity.TASK_LOGS, dag_id, request, user)
    except HTTPException:
        return False
    return True


def of_this_page(
    content_type: Annotated[str, Header()] = "", sec_fetch_site: Annotated[str, Header()] = "same-origin"
) -> None:
    """Raise 415 or 403 for a request that another site may have made the browser send.

    Airflow's cookie is SameSite=Lax, so no other site's form carries it. A form cannot send JSON, and a script of
    another origin cannot either unless CORS allows it. A request from a browser names its origin.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(status.HTTP_415_UNSUPPORTED_MEDIA_TYPE, "send JSON (Content-Type: application/json)")
    if sec_fetch_site not in {"same-origin", "none"}:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "this can be done from Airflow's own pages only")


def _require(
    method: Literal["GET", "PUT"], entity: DagAccessEntity | None, dag_id: str, request: Request, user: GetUserDep
) -> None:
    # In Airflow's API `~` stands for all DAGs: no DAG has this name.
    if dag_id == "~":
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such DAG")
    requires_access_dag(method, entity, dag_id)(request, user)


ReadableDags = Annotated[set[str], Depends(readable_dags)]
ReadDag = Annotated[str, Depends(may_read)]
EditDag = Annotated[str, Depends(may_edit)]
IsEditor = Annotated[bool, Depends(is_editor)]
IsLogReader = Annotated[bool, Depends(is_log_reader)]
