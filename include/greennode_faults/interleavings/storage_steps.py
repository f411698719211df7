"""File steps: every operation on a file below a folder of local disk is a step of the worker that makes it.

A worker's private files are no steps: its work folders, and files beside their places until they are moved there.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from greennode_faults.interleavings.workers import is_worker, step

_OPERATIONS = ("replace", "rename", "link", "unlink", "remove", "mkdir", "rmdir", "stat", "listdir", "scandir")


@contextmanager
def file_steps(root: Path) -> Iterator[None]:
    """Take a step before each operation on a file below the folder."""
    start = f"{root}/"
    before: list[tuple[Any, str, Any]] = [(os, name, getattr(os, name)) for name in (*_OPERATIONS, "fsync")]
    before.append((io, "open", io.open))

    def stepping(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **options: Any) -> Any:
            if is_worker():
                shared = [_shared(path, start) for path in arguments[:2]]
                what = next(filter(None, reversed(shared)), None)
                if what is not None:
                    step(f"{name} {what}")
            return act(*arguments, **options)

        return stepped

    def fsync(handle: int) -> None:
        # There are no power cuts here, and each sync takes longer than all the rest.
        if not is_worker():
            before[len(_OPERATIONS)][2](handle)

    try:
        for owner, name, act in before:
            setattr(owner, name, fsync if name == "fsync" else stepping(name, act))
        yield
    finally:
        for owner, name, act in before:
            setattr(owner, name, act)


def _shared(path: object, start: str) -> str | None:
    """The path below the folder, if other workers can see it."""
    if not isinstance(path, str | os.PathLike):
        return None
    text = os.fspath(path)
    if not isinstance(text, str) or not text.startswith(start):
        return None
    below = text[len(start) :]
    return None if any(part.startswith(".") for part in below.split("/")) else below
