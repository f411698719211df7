"""Live share: the workers that answer live through one connection share its limits a minute evenly.

    <root>/.live/<connection>/<worker>.json    a worker, written again every 15 seconds

A worker counts the files that are fresh. For up to 15 seconds after another worker has begun, the limits may be
exceeded. A worker that was killed keeps its share for 45 seconds.
"""

from __future__ import annotations

import secrets

from upath import UPath

from greennode_batch.staging.folders import fresh_times, safe_name, write_json
from greennode_batch.state.live_answers import LiveWorker

_FRESH_SECONDS = 45.0
_KEPT_SECONDS = 3600.0


class LiveShare:
    """One worker among those of a connection. root: the root of staging."""

    def __init__(self, root: UPath, connection: str) -> None:
        self._folder = root / ".live" / safe_name(connection)
        self._name = f"{secrets.token_hex(8)}.json"

    def __call__(self) -> int:
        """Register this worker, and return how many there are with it."""
        write_json(self._folder / self._name, LiveWorker())
        times = fresh_times(self._folder)
        # All times are those of the disk or store.
        now = times.get(self._name, 0.0)
        for name, written_at in times.items():
            if now - written_at > _KEPT_SECONDS:
                (self._folder / name).unlink(missing_ok=True)
        return max(1, sum(now - written_at < _FRESH_SECONDS for written_at in times.values()))

    def leave(self) -> None:
        """Take this worker off the list."""
        (self._folder / self._name).unlink(missing_ok=True)
