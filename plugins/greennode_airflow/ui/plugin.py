"""The Airflow plugin, found by its entry point `airflow.plugins`. Every Airflow process loads it, so it is light."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from greennode_airflow.ui import DAG_ROUTE, MANUAL_ROUTE, PAGE_PREFIX, PAGE_ROUTE, RUN_ROUTE
from greennode_airflow.ui.connection_test import NoPortIsNone

Message = MutableMapping[str, Any]


class LazyApp:
    """The page's ASGI app, made at the first request: only the API server receives any."""

    def __init__(self) -> None:
        self._made: Any = None
        self._making = asyncio.Lock()

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Pass the request on."""
        if self._made is None:
            async with self._making:
                if self._made is None:
                    self._made = await asyncio.to_thread(_make)
        await self._made(scope, receive, send)


def _make() -> Any:
    from greennode_airflow.ui.app import make_app  # noqa: PLC0415 - it takes a second and some megabytes

    return make_app()


class GreenNodePlugin(AirflowPlugin):
    """The page "GreenNode batches" under Browse, a tab of each DAG and each run, and the manual in the Docs menu."""

    # Another public plugin is called greennode, and Airflow keeps one plugin a name.
    name = "greennode_batches"
    # Airflow's own declarations, which are not of the class.
    fastapi_apps = [{"app": LazyApp(), "url_prefix": PAGE_PREFIX, "name": "GreenNode batches"}]  # noqa: RUF012
    fastapi_root_middlewares = [  # noqa: RUF012
        {"middleware": NoPortIsNone, "args": [], "kwargs": {}, "name": "GreenNode: test of a connection"}
    ]
    external_views = [  # noqa: RUF012
        {
            "name": "GreenNode batches",
            "href": f"{PAGE_PREFIX}/",
            "destination": "nav",
            "category": "browse",
            "url_route": PAGE_ROUTE,
        },
        {
            "name": "GreenNode",
            "href": f"{PAGE_PREFIX}/?dag_id={{DAG_ID}}",
            "destination": "dag",
            "url_route": DAG_ROUTE,
        },
        {
            "name": "GreenNode",
            "href": f"{PAGE_PREFIX}/run?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": RUN_ROUTE,
        },
        {
            "name": "GreenNode batch inference",
            "href": f"{PAGE_PREFIX}/manual/index.md",
            "destination": "nav",
            "category": "docs",
            "url_route": MANUAL_ROUTE,
        },
    ]
