"""A spill file: objects that one process puts on local disk and reads back in order, so that it holds none of them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class SpillFile(Generic[T]):
    """Begins empty, whatever its path held before; can be read, and read again, at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_bytes(b"")

    def add(self, value: T) -> None:
        """Append an object."""
        with self._path.open("ab") as file:
            pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)

    def __iter__(self) -> Iterator[T]:
        """All objects, one at a time."""
        with self._path.open("rb") as file:
            while True:
                try:
                    yield pickle.load(file)  # noqa: S301 - this process wrote it
                except EOFError:
                    return
