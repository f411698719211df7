"""SpillFile: objects that a process stores on local disk and reads back in order, so that it holds none of them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class SpillFile(Generic[T]):
    """A file of pickled objects. It starts empty, even if the path exists, and can be iterated at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_bytes(b"")

    def add(self, value: T) -> None:
        """Append an object."""
        with self._path.open("ab") as file:
            pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)

    def __iter__(self) -> Iterator[T]:
        """Yield all objects, one at a time."""
        with self._path.open("rb") as file:
            while True:
                try:
                    yield pickle.load(file)  # noqa: S301 - this process wrote it
                except EOFError:
                    return
