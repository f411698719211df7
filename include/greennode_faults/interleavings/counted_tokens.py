"""Tokens: values that would be random for workers are counted or seeded, so that a schedule is repeatable."""

from __future__ import annotations

import itertools
import random
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from greennode_faults.interleavings.workers import is_worker


class Tokens:
    """The next number, as a token that nothing else has."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def begin(self, seed: int) -> None:
        """Start over."""
        self._numbers = itertools.count(1)
        random.seed(seed)

    def uuid4(self) -> uuid.UUID:
        """Replaces a random one."""
        return uuid.UUID(int=next(self._numbers))

    def token_hex(self, nbytes: int = 32) -> str:
        """Replaces a random one."""
        return f"{next(self._numbers):0{2 * nbytes}x}"


@contextmanager
def counted_tokens() -> Iterator[Tokens]:
    """Inside, workers get counted tokens, and all other threads random ones."""
    tokens = Tokens()
    before = random.getstate(), secrets.token_hex, uuid.uuid4

    def token_hex(nbytes: int = 32) -> str:
        return tokens.token_hex(nbytes) if is_worker() else before[1](nbytes)

    def uuid4() -> uuid.UUID:
        return tokens.uuid4() if is_worker() else before[2]()

    try:
        secrets.token_hex, uuid.uuid4 = token_hex, uuid4  # type: ignore[assignment] # the same but for its default
        yield tokens
    finally:
        random.setstate(before[0])
        secrets.token_hex, uuid.uuid4 = before[1], before[2]
