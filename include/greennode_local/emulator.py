"""The GreenNode emulator as a process."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from greennode_local.airflow_home import inherited_environment, path_roots
from greennode_local.local_error import LocalError
from greennode_local.ports import LOOPBACK, free_port
from greennode_local.processes import MARK, Service, wait_until


@dataclass(frozen=True)
class BatchCounts:
    """The batches on the server, and how many of their requests are done."""

    batches: int
    completed: int
    total: int


@dataclass(frozen=True)
class Emulator:
    """A running emulator."""

    port: int
    api_key: str = field(repr=False)
    service: Service = field(repr=False)
    http: httpx.Client = field(repr=False)

    @property
    def url(self) -> str:
        """The server's root; `/_emulator/…` lies below it."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def base_url(self) -> str:
        """The base URL for clients: the root of the API."""
        return f"{self.url}/v1"

    def wait_until_healthy(self, *, seconds: float = 120) -> None:
        """Wait until it answers."""
        wait_until(self._is_healthy, what="the emulator", seconds=seconds, services=[self.service])

    def ledger(self, *, summary: bool = True) -> dict[str, Any]:
        """What was called and billed; without `summary` also how often each custom_id was billed."""
        return self._json("/_emulator/ledger", summary=summary)

    def batch_counts(self) -> BatchCounts:
        """How far the batches are, from the same list that clients see."""
        batches = self._json("/v1/batches", limit=100)["data"]
        counts = [batch.get("request_counts") or {} for batch in batches]
        return BatchCounts(
            batches=len(batches),
            completed=sum(count.get("completed", 0) + count.get("failed", 0) for count in counts),
            total=sum(count.get("total", 0) for count in counts),
        )

    def _is_healthy(self) -> bool:
        try:
            return self.http.get(f"{self.url}/_emulator/health", timeout=2).is_success
        except httpx.TransportError:
            return False

    def _json(self, path: str, **params: Any) -> dict[str, Any]:
        try:
            answer = self.http.get(self.url + path, params=params)
        except httpx.TransportError as error:
            self.service.check()
            raise LocalError(f"the emulator does not answer {path}: {error}") from error
        if not answer.is_success:
            raise LocalError(f"the emulator answers {path} with {answer.status_code}: {answer.text[:300]}")
        found: dict[str, Any] = answer.json()
        return found


@contextlib.contextmanager
def starting_emulator(
    state: Path, *, api_key: str, batch_seconds: float, log: Path, home: Path, extra: tuple[str, ...] = ()
) -> Iterator[Emulator]:
    """An emulator that has been started; call `wait_until_healthy` before use. Stopped at the end."""
    port = free_port()
    state.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "greennode_emulator", "--port", str(port), "--api-key", api_key),
        *("--state", str(state), "--batch-seconds", str(batch_seconds), *extra),
    ]
    environment = {**inherited_environment(os.environ), "PYTHONPATH": path_roots(), MARK: str(home)}
    service = Service("emulator", command, env=environment, log=log)
    headers = {"Authorization": f"Bearer {api_key}"}
    try:
        with httpx.Client(headers=headers, timeout=30, trust_env=False) as http:
            yield Emulator(port=port, api_key=api_key, service=service, http=http)
    finally:
        service.stop(grace_seconds=3)
