import sys
from pathlib import Path

import psutil
import pytest

from greennode_local.local_error import LocalError
from greennode_local.processes import MARK, Service, kill, members_of, run_to_end, wait_until

# A process that ignores SIGTERM and has a child in a group of its own which does so too.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setpgid(0, 0)
print("up", flush=True)
time.sleep(300)
"""


def start(home: Path, code: str) -> Service:
    return Service("part", [sys.executable, "-c", code], env={MARK: str(home)}, log=home / "part.log")


def is_up(home: Path, lines: int) -> bool:
    return (home / "part.log").read_text().count("up") == lines


def test_stopping_ends_children_that_ignore_the_signal(tmp_path: Path) -> None:
    service = start(tmp_path, STUBBORN)
    wait_until(lambda: is_up(tmp_path, 2), what="both", seconds=120, services=[service])
    family = service.family()
    assert len(family) == 2
    service.stop(grace_seconds=0.1)
    assert not [process for process in family if psutil.pid_exists(process.pid) and process.is_running()]
    assert members_of(tmp_path) == []


def test_a_process_that_a_killed_run_left_is_found_by_its_home(tmp_path: Path) -> None:
    service = start(tmp_path, STUBBORN)
    wait_until(lambda: is_up(tmp_path, 2), what="both", seconds=120, services=[service])
    service.process.kill()
    service.process.wait()
    orphans = members_of(tmp_path)
    assert len(orphans) == 1
    assert members_of(tmp_path / "other") == []
    kill(orphans)
    assert members_of(tmp_path) == []


def test_a_part_that_ends_early_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    service = start(tmp_path, "for n in range(100): print('line', n)\nraise SystemExit(3)")
    with pytest.raises(LocalError) as raised:
        wait_until(lambda: False, what="never", seconds=120, services=[service])
    lines = str(raised.value).splitlines()
    assert "exit code 3" in lines[0]
    assert lines[1:] == [f"    line {n}" for n in range(70, 100)]


def test_a_part_that_is_started_while_waiting_is_watched_too(tmp_path: Path) -> None:
    services: list[Service] = []

    def ready() -> bool:
        if not services:
            services.append(start(tmp_path, "raise SystemExit(4)"))
        return False

    with pytest.raises(LocalError, match="exit code 4"):
        wait_until(ready, what="never", seconds=120, services=services)


def test_waiting_has_a_deadline() -> None:
    with pytest.raises(LocalError, match="the thing: not ready after 0 s"):
        wait_until(lambda: False, what="the thing", seconds=0, poll_seconds=0)


def test_a_command_that_fails_is_an_error_with_its_output(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no luck')"]
    with pytest.raises(LocalError, match="the command failed") as raised:
        run_to_end(command, env={}, log=tmp_path / "log", what="the command")
    assert "no luck" in str(raised.value)
