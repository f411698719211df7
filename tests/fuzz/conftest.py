"""A seeded mutator of JSON and of bytes, and how much of it to run.

A pull request has a tenth of it, `make nightly` all. `GREENNODE_FUZZ_SEED=7 GREENNODE_FUZZ_TIMES=50 pytest
tests/fuzz` fuzzes with another seed, fifty times as long.
"""

from __future__ import annotations

import codecs
import copy
import gc
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

SEED = int(os.environ.get("GREENNODE_FUZZ_SEED", "20261123"))
TIMES = float(os.environ.get("GREENNODE_FUZZ_TIMES", "0.1"))

# What json.dumps cannot write is put in its place afterwards.
_DEEP = "@deep@"
_DIGITS = "@digits@"
_DEPTHS = (3, 40, 400, 900, 990, 1100, 3000)
_CONTROL = "\x00\x07\x08\x0b\x0c\x1b[31m\x1f\x7f\x85\u2028\u2029\u202e\ufeff"
_ODD_VALUES: tuple[Any, ...] = (
    None, None, None, True, False, 0, -1, 1, 200, 404, 500, 0.5, -0.0, 1e308, -1e308, 2**63, 2**64, -(2**63) - 1,
    10**30, 10**400, -(10**400), float("nan"), float("inf"), float("-inf"),
    "", " ", "\t\n", "0", "200", "-5", "1e999", "NaN", "null", "true", "é" * 40, "\ud800", "\udfff\ud800", _CONTROL,
    [], {}, [[]], [{}], [None], {"": ""}, {"id": None}, [None, {"id": "x"}, None],
    "2026-13-45T99:99:99Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+14:00", "https://example.com/x?y=z",
    '{"a": 1}', '{"choices": [{"message": {"content": "x"}}]}', _DEEP, _DIGITS,
)  # fmt: skip
_ODD_BYTES = (
    b"\x00", b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x80\xa8",
    b"\xc2\x85", b"\x1b[2J", b"\r", b"\r\n", b"\n", b"\n\n", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null",
    b"NaN", b"-Infinity", b"1e9999", b"\\u0000", b"\\ud800", b"\\u", b"\x0b", b"\x1a", b"<title>", b"</title>", b"<",
)  # fmt: skip
_NEW_NAMES = (
    "id", "custom_id", "error", "message", "status", "response", "body", "data", "choices", "content", "code", "result",
    "items", "x" * 300, "", "\n", "camelCase", "object", "url", "success", "__proto__",
)  # fmt: skip
_ENCODINGS = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1")


class Mutator:
    """Twists what it is given, at random, from a seed."""

    def __init__(self, seed: object, words: Sequence[str] = ()) -> None:
        self.rng = random.Random(f"{SEED}/{seed}")
        self._words = words

    def twisted_json(self, value: Any, *, twists: int) -> bytes:
        """JSON of the value with some nodes replaced, renamed, dropped, doubled or wrapped."""
        value = msgspec.json.decode(msgspec.json.encode(value))
        for _ in range(twists):
            value = self._twisted(value)
        ascii_only = self.rng.random() < 0.5
        try:
            data = json.dumps(value, ensure_ascii=ascii_only).encode()
        except UnicodeEncodeError:
            data = json.dumps(value).encode()
        if _DEEP.encode() in data:
            depth = self.rng.choice(_DEPTHS)
            opened, closed = self.rng.choice(((b"[", b"]"), (b'{"content":', b"}"), (b'[{"text":', b"}]")))
            data = data.replace(f'"{_DEEP}"'.encode(), opened * depth + b'"x"' + closed * depth)
        if _DIGITS.encode() in data:
            digits = str(self.rng.randint(1, 9)).encode() * self.rng.choice((25, 400, 1001, 4301, 9000))
            data = data.replace(f'"{_DIGITS}"'.encode(), digits)
        return data

    def _twisted(self, value: Any) -> Any:
        rng = self.rng
        if isinstance(value, dict) and value and rng.random() < 0.85:
            name = rng.choice(list(value))
            act = rng.random()
            if act < 0.07:
                del value[name]
            elif act < 0.16:
                value[rng.choice(_NEW_NAMES)] = value.pop(name)
            elif act < 0.22:
                value[rng.choice(_NEW_NAMES)] = self._odd()
            else:
                value[name] = self._twisted(value[name])
            return value
        if isinstance(value, list) and value and rng.random() < 0.8:
            index = rng.randrange(len(value))
            act = rng.random()
            if act < 0.1:
                del value[index]
            elif act < 0.2:
                value.insert(index, copy.deepcopy(value[index]))
            elif act < 0.3:
                value.insert(index, self._odd())
            else:
                value[index] = self._twisted(value[index])
            return value
        return self._replaced(value)

    def _replaced(self, value: Any) -> Any:
        rng = self.rng
        act = rng.random()
        if act < 0.55:
            return self._odd()
        if act < 0.78:
            return rng.choice(([value], {rng.choice(_NEW_NAMES): value}, json.dumps(value)))
        if isinstance(value, str):
            return self._replaced_text(value)
        return str(value) if act < 0.9 else -value if isinstance(value, int | float) else None

    def _replaced_text(self, value: str) -> str:
        rng = self.rng
        act = rng.random()
        index = rng.randrange(len(value) + 1)
        if act < 0.35 and self._words:
            return f"{value[: rng.randrange(30)]}{'.' * rng.randrange(600)} {rng.choice(self._words)}"
        if act < 0.5:
            return value[:100] * rng.choice((2, 50, 3000))
        return value[:index] + rng.choice(_CONTROL) + value[index:]

    def _odd(self) -> Any:
        return copy.deepcopy(self.rng.choice(_ODD_VALUES))

    def twisted_bytes(self, data: bytes, other: bytes) -> bytes:
        """The bytes flipped, cut, doubled, re-encoded, padded, or run together with `other`."""
        twist = self.rng.choice(
            (self._flipped, self._cut, self._cut, self._with_odd_bytes, self._joined, self._encoded)
        )
        return twist(data, other)

    def _flipped(self, data: bytes, _: bytes) -> bytes:
        flipped = bytearray(data)
        for _ in range(self.rng.choice((1, 1, 2, 8)) if data else 0):
            flipped[self.rng.randrange(len(flipped))] ^= 1 << self.rng.randrange(8)
        return bytes(flipped)

    def _cut(self, data: bytes, other: bytes) -> bytes:
        start, end = sorted(self.rng.randrange(len(data) + 1) for _ in range(2))
        tail = other[self.rng.randrange(len(other) + 1) :]
        return self.rng.choice(
            (data[:start], data[start:], data[:start] + data[end:], data[:end] + data[start:], data[:start] + tail)
        )

    def _with_odd_bytes(self, data: bytes, _: bytes) -> bytes:
        index = self.rng.randrange(len(data) + 1)
        return data[:index] + self.rng.choice(_ODD_BYTES) + data[index:]

    def _joined(self, data: bytes, other: bytes) -> bytes:
        return data + self.rng.choice((b"", b"\n", b",", b" ")) + other

    def _encoded(self, data: bytes, _: bytes) -> bytes:
        act = self.rng.random()
        if act < 0.3:
            return codecs.BOM_UTF8 * self.rng.choice((1, 1, 2)) + data
        if act < 0.7:
            return data.decode("utf-8", "replace").encode(self.rng.choice(_ENCODINGS), "replace")
        padding = b" " * self.rng.choice((1, 100)), b"\t" * self.rng.choice((0, 1, 100))
        return self.rng.choice((data, data, b"\r", b"\x00", b"\t")).join(padding)


@pytest.fixture(scope="session")
def mutator() -> Callable[..., Mutator]:
    """Makes a mutator from a name: the same name and seed, the same mutations."""
    return Mutator


@pytest.fixture(scope="session")
def times() -> float:
    """How many times the usual number of rounds to run."""
    return TIMES


@pytest.fixture(scope="session")
def least_seconds() -> Callable[[Callable[[], object]], float]:
    """The least CPU time of three rounds: whoever else works on the machine adds to a time, and takes nothing away."""

    def measure(work: Callable[[], object]) -> float:
        rounds = []
        for _ in range(3):
            before = time.thread_time()
            work()
            rounds.append(time.thread_time() - before)
        return min(rounds)

    return measure


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Garbage is looked for among what tests make alone: among all of Airflow, that takes longer than a line may."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
