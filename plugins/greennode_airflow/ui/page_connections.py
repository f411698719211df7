"""Connections: the page's clients for GreenNode, one for each Airflow connection that runs use."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager

from greennode_airflow.hooks import GreenNodeHook
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.monitor.live_batches import LiveBatches

# A person waits, or asks again some seconds later.
_TIMEOUT_SECONDS = 5.0


class Connections:
    """Live batches by connection id. Used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[str, LiveBatches] = {}

    def live(self, conn_id: str | None) -> LiveBatches:
        """The server's report on batches; the same object for each caller."""
        name = conn_id or GreenNodeHook.default_conn_name
        with self._lock:
            if name not in self._live:
                self._live[name] = LiveBatches(lambda: self.client(name))
            return self._live[name]

    def client(self, conn_id: str | None) -> AbstractContextManager[GreenNodeClient]:
        """A client that gives up soon. Raises GreenNodeError for a connection that cannot work."""
        hook = GreenNodeHook(conn_id or GreenNodeHook.default_conn_name)
        return hook.get_conn(timeout=_TIMEOUT_SECONDS, max_tries=1)
