"""A gateway that swaps files and ids: batches are found by their mark, and what it has made goes with the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.witness.invented_server import KEY
from tests.witness.swapping_proxy import SwappingProxy

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.run import run_to_file
from greennode_batch.staging.folders import run_folder
from greennode_emulator.server import RunningEmulator, running
from greennode_emulator.settings import Settings
from greennode_faults.stage import ROWS, FastClock, make_job, open_source, rows_out


@pytest.fixture
def emulator() -> Iterator[RunningEmulator]:
    with running(Settings(dialect="openai", batch_seconds=0.2)) as emulator:
        yield emulator


@pytest.fixture
def gateway(emulator: RunningEmulator) -> Iterator[SwappingProxy]:
    with SwappingProxy(emulator.base_url, emulator.api_key) as gateway:
        yield gateway


@pytest.mark.parametrize("drops", [0, 1, 3])
def test_a_batch_of_a_swapped_file_is_found_by_its_mark_and_paid_once(gateway, emulator, tmp_path: Path, drops):
    gateway.drops = drops
    clock, out = FastClock(), tmp_path / "out.parquet"
    profile = ApiProfile.from_extra({"profile": "openai"})
    with GreenNodeClient(gateway.base_url, KEY, profile=profile, clock=clock, sleep=clock.sleep) as client:
        report = run_to_file(
            make_job(out, {}),
            open_source,
            client,
            run_folder(tmp_path / "staging", "faults", "run"),
            out,
            run_id="run",
            clock=clock,
            sleep=clock.sleep,
        )
    assert report.rows == ROWS
    assert len(rows_out(out)) == ROWS
    ledger = emulator.ledger()
    assert gateway.drops == 0
    assert ledger["batches_created"] == len(gateway.copies) > 1
    assert set(ledger["requests"].values()) == {1}
    left = httpx.get(f"{emulator.base_url}/files", headers={"authorization": f"Bearer {emulator.api_key}"}).json()
    assert left["data"] == []
