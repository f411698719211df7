"""Probes of emulators, and of servers that are no use."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from upath import UPath

from greennode_batch.probe.probe_run import Outcome, Probe
from greennode_emulator.server import RunningEmulator

KEY = 'sk-probe"quote\\slash/plus+equals=and&'


class FakeClock:
    """A clock that moves only when somebody sleeps on it."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def rest(clock) -> Callable[[float], None]:
    """Lets time pass for an emulator that goes by `clock`, and lets its thread have a turn."""

    def sleep(seconds):
        clock.sleep(seconds)
        time.sleep(0.01)

    return sleep


@pytest.fixture
def folder(tmp_path) -> UPath:
    return UPath(tmp_path / "probe")


@pytest.fixture
def probe(folder, clock, rest) -> Callable[..., Outcome]:
    """Probe an emulator that goes by `clock` into `folder`: nothing ends while the probe does not rest.

    It waits for as many rests as it takes: what ends by the clock does so when the emulator's thread has its turn.
    """

    def run(emulator: RunningEmulator, **options) -> Outcome:
        options = {"wait_seconds": 1e9, "sleep": rest, "now": clock, **options}
        return Probe(emulator.base_url, options.pop("key", emulator.api_key), folder, **options).run()

    return run


@pytest.fixture
def probe_answers(folder) -> Callable[..., Outcome]:
    """Probe a server that is a function from request to response; time passes only by resting."""

    def run(answer: Callable[[httpx.Request], httpx.Response], **options) -> Outcome:
        clock = FakeClock()
        return Probe(
            "https://api.test/v1",
            options.pop("key", KEY),
            folder,
            transport=httpx.MockTransport(answer),
            sleep=clock.sleep,
            now=clock,
            **{"wait_seconds": 60, **options},
        ).run()

    return run


@pytest.fixture
def written(folder) -> Callable[[], dict[str, str]]:
    """Every file of the probe's folder, as text."""

    def read() -> dict[str, str]:
        return {path.name: path.read_text() for path in Path(str(folder)).iterdir()}

    return read
