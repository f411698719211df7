from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greennode_airflow.hooks import GreenNodeHook
from greennode_emulator.server import RunningEmulator, running
from greennode_emulator.settings import Settings

SetConnection = Callable[..., None]


@pytest.fixture
def set_connection(monkeypatch: pytest.MonkeyPatch) -> SetConnection:
    """Define `greennode_default` by the environment, as a deployment may."""

    def set_it(**fields: object) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_GREENNODE_DEFAULT", json.dumps({"conn_type": "greennode", **fields}))

    return set_it


@pytest.fixture
def connection(emulator: RunningEmulator, set_connection: SetConnection) -> RunningEmulator:
    """`greennode_default` points to the emulator."""
    set_connection(host=emulator.base_url, password=emulator.api_key)
    return emulator


@pytest.fixture
def slow_emulator(set_connection: SetConnection) -> Iterator[RunningEmulator]:
    """`greennode_default` points to an emulator whose batches do not end while a test looks."""
    with running(Settings(batch_seconds=3600)) as emulator:
        set_connection(host=emulator.base_url, password=emulator.api_key)
        yield emulator


@pytest.fixture
def make_batch(tmp_path: Path) -> Callable[[], str]:
    """Create a batch of one request on `greennode_default`; its id."""
    body = {"model": "google/gemma-4-31b-it", "messages": [{"role": "user", "content": "hi"}]}

    def make() -> str:
        requests = tmp_path / "requests.jsonl"
        requests.write_text(json.dumps({"custom_id": "a", "body": body}) + "\n")
        with GreenNodeHook().get_conn() as client:
            return client.create_batch(client.upload_file(requests).id).id

    return make
