"""The harmless part against a server of one's own: here the emulator, as if it were any."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_emulator.server import RunningEmulator
from greennode_faults.live import run_live


@pytest.fixture
def options(emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    monkeypatch.setenv("GREENNODE_API_KEY", emulator.api_key)
    return Namespace(
        base_url=emulator.base_url,
        model="google/gemma-4-31b-it",
        profile="greennode",
        state=tmp_path,
        wait_seconds=60.0,
    )


def test_each_case_makes_one_batch_and_started_again_none(options: Namespace, emulator: RunningEmulator) -> None:
    outcomes = list(run_live(options))
    assert [outcome.result for outcome in outcomes] == ["ok"] * 6
    assert emulator.ledger()["batches_created"] == 6
    assert {outcome.result for outcome in run_live(options)} == {"ok"}
    assert emulator.ledger()["batches_created"] == 6


def test_a_second_batch_of_a_file_is_found(options: Namespace, emulator: RunningEmulator) -> None:
    list(run_live(options))
    first = next(iter(emulator.ledger()["batches"]))
    with GreenNodeClient(emulator.base_url, emulator.api_key) as client:
        client.create_batch(first["input_file_id"])
    problems = [outcome.result for outcome in run_live(options) if outcome.problems]
    assert len(problems) == 1
    assert problems[0].startswith("2 batches for one shard")
