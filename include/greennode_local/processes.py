"""Processes that we start, watch and reliably end, with all their children."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from greennode_local.local_error import LocalError

# Every process of a deployment has its home folder in its environment and passes it to its children.
# Sessions and groups are not enough: each of Airflow's tasks leads a group, and a killed run leaves orphans.
MARK = "GREENNODE_LOCAL_HOME"
_TAIL_LINES = 30
# For a kill, which no process can refuse: on a busy machine, the end of a process still takes time.
_KILLED_SECONDS = 60


class Service:
    """One long-running process in a separate session, so that Ctrl-C reaches it only through us."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = log
        self.stop_signal = stop_signal
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603 - our own command line, no shell
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_user(user),
            )

    def check(self) -> None:
        """Raise, with the end of its log, if the process has ended."""
        code = self.process.poll()
        if code is not None:
            raise LocalError(f"{self.name} ended early (exit code {code}). The end of its log:\n{self.tail()}")

    def tail(self) -> str:
        """The last lines of the log, indented."""
        return tail(self.log)

    def family(self) -> list[psutil.Process]:
        """The process and its descendants that are alive."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        return []

    def memory_mb(self) -> float:
        """Memory of the process and its descendants; shared pages count once where the system says so (PSS)."""
        total = 0
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                info = process.memory_full_info()
                total += getattr(info, "pss", info.rss)
        return total / 1e6

    def ask_to_stop(self) -> None:
        """Send the stop signal and return at once."""
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)

    def stop(self, *, grace_seconds: float = 10) -> None:
        """Ask it to stop, wait, then kill the process and every remaining descendant."""
        family = self.family()
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_seconds)
        kill(family)
        self.process.wait(_KILLED_SECONDS)


def tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """The last lines of a log file, indented for an error message."""
    if not log.exists():
        return "    (no log)"
    found = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in found) or "    (empty)"


def kill(processes: Iterable[psutil.Process]) -> None:
    """End these processes at once and wait until they are gone; those that have ended already do not matter."""
    alive = [process for process in processes if process.is_running()]
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def members_of(home: Path) -> list[psutil.Process]:
    """The living processes of the deployment in this folder, other than the caller's own."""
    return list(_members(str(home)))


def _members(home: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == home and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def run_to_end(command: Sequence[str], *, env: Mapping[str, str], log: Path, what: str) -> None:
    """Run a short command; raise with the end of its log if it fails."""
    service = Service(what, command, env=env, log=log)
    try:
        code = service.process.wait()
    except BaseException:
        service.stop(grace_seconds=2)
        raise
    if code != 0:
        raise LocalError(f"{what} failed (exit code {code}). The end of its log:\n{service.tail()}")


def wait_until(
    ready: Callable[[], bool],
    *,
    what: str,
    seconds: float,
    services: Collection[Service] = (),
    poll_seconds: float = 0.1,
) -> None:
    """Check until `ready` returns true. Raises when the time is up, and at once if one of the services ends.

    `ready` may add to `services`.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        for service in services:
            service.check()
        if time.monotonic() > deadline:
            logs = "\n".join(f"  {service.name}:\n{service.tail()}" for service in services)
            raise LocalError(f"{what}: not ready after {seconds:.0f} s\n{logs}")
        time.sleep(poll_seconds)


def as_user(user: str | None) -> dict[str, Any]:
    """The options for `subprocess` to run a program as this user and with none of our groups."""
    if user is None:
        return {}
    import pwd  # noqa: PLC0415 - does not exist on every platform, and is needed by root only

    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
