"""Live loops: live answers run in the thread of the worker that asks for them, on virtual time.

In a real process they have an event loop in another thread, which saves its files in further threads. Here all of
that is one worker, so that a schedule stops it whole, and decides everything.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from greennode_batch.batches import live_shard
from greennode_faults.interleavings.workers import is_worker, sleep, worker_index

_real_run, _real_to_thread, _real_host = asyncio.run, asyncio.to_thread, socket.gethostname


class _VirtualSelector(selectors.DefaultSelector):
    """Waits for virtual time to pass, because no event comes from outside of the loop."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """The events of now; if there are none, time passes."""
        found = super().select(0)
        if found or timeout == 0:
            return found
        assert timeout is not None, "a loop waits for ever"
        sleep(timeout)
        return found


def _virtual_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(_VirtualSelector())


def _run(main: Coroutine[Any, Any, Any], **options: Any) -> Any:
    if not is_worker():
        return _real_run(main, **options)
    with asyncio.Runner(loop_factory=_virtual_loop) as runner:
        return runner.run(main)


async def _to_thread(act: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return act(*arguments, **options) if is_worker() else await _real_to_thread(act, *arguments, **options)


def _host() -> str:
    # A worker that finds its own host and process in a claim takes the other one for dead.
    return f"host-{worker_index()}" if is_worker() else _real_host()


class _OwnThread(ThreadPoolExecutor):
    """Runs in the thread that submits, if that is a worker's."""

    def submit(self, act: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Run it at once."""
        if not is_worker():
            return super().submit(act, *arguments, **options)
        done: Future[Any] = Future()
        try:
            done.set_result(act(*arguments, **options))
        except BaseException as error:  # noqa: BLE001 - the result of a future may be any error
            done.set_exception(error)
        return done


@contextmanager
def live_loops() -> Iterator[None]:
    """Inside, workers answer live in their own threads, each on another host."""
    changed: list[tuple[Any, str, Any]] = [
        (asyncio, "run", _run),
        (asyncio, "to_thread", _to_thread),
        (socket, "gethostname", _host),
        (live_shard, "ThreadPoolExecutor", _OwnThread),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changed]
    try:
        for owner, name, act in changed:
            setattr(owner, name, act)
        yield
    finally:
        for owner, name, act in before:
            setattr(owner, name, act)
