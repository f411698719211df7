"""The options of one emulator."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from greennode_emulator.chat_latency import AT_ONCE, Latency
from greennode_emulator.faults.kinds import AnyFault

DEFAULT_MODELS = (
    "google/gemma-4-31b-it",
    "openai/gpt-oss-120b",
    "qwen/qwen3.6-flash",
    "zai/glm-5.2",
    "greennode/greenmind-medium-14b-r1",
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The documented limits of one batch file; tests lower them.

    GreenNode's article says "100 MB". That is read as 10^6 bytes, not 2^20: the smaller of the two readings,
    so a client that fits here fits under either.
    """

    max_file_bytes: int = 100 * 1000 * 1000
    max_lines: int = 50_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One emulator; `state` None means a temporary folder, no `api_keys` means one is generated.

    `upstream` is the base URL of a model server that answers instead of the emulator; `faults` are armed from the
    start. Files at another origin are served on `storage_port`. `clock` returns the seconds since 1970: a test may
    make batches wait for it. Without `batches` there are neither batches nor files, as on a plain model server. Fields
    that begin with `chat_` are for live answers; None: no such limit.
    """

    host: str = "127.0.0.1"
    port: int = 0
    dialect: str = "openai"
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    state: Path | None = None
    batch_seconds: float = 2.0
    models: tuple[str, ...] = DEFAULT_MODELS
    limits: Limits = field(default_factory=Limits)
    faults: tuple[AnyFault, ...] = ()
    upstream: str | None = None
    upstream_key: str | None = field(default=None, repr=False)
    storage_port: int = 0
    batches: bool = True
    chat_latency: Latency = AT_ONCE
    chat_requests_per_minute: int | None = None
    chat_tokens_per_minute: int | None = None
    clock: Callable[[], float] = field(default=time.time, repr=False)
