"""docs/how-to/dialects.md is true: it has every preset, and its example runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import PRESETS, ApiProfile
from greennode_batch.probe.state import MAX_BATCHES, MAX_CHATS
from greennode_batch.probe.tiny_requests import tiny_lines
from greennode_emulator.dialects import DIALECTS
from greennode_emulator.server import running
from greennode_emulator.settings import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "dialects.md").read_text()
MODEL = "google/gemma-4-31b-it"


def block(language: str) -> str:
    found, *_ = re.findall(rf"```{language}\n(.*?)```", PAGE.partition("## A new dialect")[2], re.DOTALL)
    return found


def test_every_preset_and_the_cost_are_on_the_page():
    assert all(f"`{name}`" in PAGE for name in PRESETS)
    assert f"{MAX_CHATS} chats and {MAX_BATCHES} batches of two lines" in PAGE


@pytest.fixture
def lotus(monkeypatch, clock):
    """An emulator that speaks the page's invented dialect."""
    names: dict = {}
    exec(block("python"), names)
    monkeypatch.setitem(DIALECTS, "lotus", names["LOTUS"])
    with running(Settings(dialect="lotus", batch_seconds=0.2, clock=clock)) as emulator:
        yield emulator


def test_the_pages_example_brings_two_answers_home(lotus, rest, tmp_path):
    profile = ApiProfile.from_extra(json.loads(block("json")))
    path = tmp_path / "lines.jsonl"
    path.write_bytes(tiny_lines("main", profile, MODEL))
    with GreenNodeClient(lotus.base_url, lotus.api_key, profile=profile) as client:
        batch = client.create_batch(client.upload_file(path).id)
        while not batch.status.is_terminal:
            rest(0.1)
            batch = client.get_batch(batch.id)
        assert batch.raw_status == "Finished"
        assert [one.id for one in client.list_batches(limit=1)] == [batch.id]
        client.download_results(batch, "output", tmp_path / "output.jsonl")
    assert len((tmp_path / "output.jsonl").read_bytes().splitlines()) == 2


def test_the_probe_finds_the_pages_profile(lotus, probe):
    assert probe(lotus).found.extra == json.loads(block("json"))
