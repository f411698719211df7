"""Connections: the page's way to GreenNode, one for each connection of Airflow that runs use."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import AbstractContextManager

from greennode_airflow.hooks import GreenNodeHook
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.overview.live_batches import LiveBatches
from greennode_batch.prices import Prices

log = logging.getLogger(__name__)

# A person waits, or asks again some seconds later.
_TIMEOUT_SECONDS = 5.0
_PRICED_SECONDS = 30.0


class Connections:
    """Live batches and prices by connection id. Used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[str, LiveBatches] = {}
        self._prices: dict[str, tuple[float, Prices | None]] = {}

    def live(self, conn_id: str | None) -> LiveBatches:
        """What the server says of batches; the same one for each caller."""
        name = conn_id or GreenNodeHook.default_conn_name
        with self._lock:
            if name not in self._live:
                self._live[name] = LiveBatches(lambda: self.client(name))
            return self._live[name]

    def client(self, conn_id: str | None) -> AbstractContextManager[GreenNodeClient]:
        """A client that soon gives up. Raises GreenNodeError for a connection that cannot work."""
        hook = GreenNodeHook(conn_id or GreenNodeHook.default_conn_name)
        return hook.get_conn(timeout=_TIMEOUT_SECONDS, max_tries=1)

    def prices(self, conn_id: str | None) -> Prices | None:
        """The connection's price table; None where it has none that can be read."""
        name = conn_id or GreenNodeHook.default_conn_name
        with self._lock:
            read_at, prices = self._prices.get(name, (-_PRICED_SECONDS, None))
        if time.monotonic() - read_at < _PRICED_SECONDS:
            return prices
        try:
            prices = GreenNodeHook(name).prices()
        except Exception as error:  # noqa: BLE001 - a page without prices is better than none
            log.warning("The prices of connection %s cannot be read: %s", name, type(error).__name__)
            prices = None
        with self._lock:
            self._prices[name] = (time.monotonic(), prices)
        return prices
