"""Live: cases that are harmless on any server: a handful of tiny batches, and faults on our side alone.

Replies are dropped after the server has sent them, a worker is killed between its steps, two workers meet on a shard,
a batch is cancelled. The server's bill cannot be seen from here; that there is one batch for each file can, and it is
the same promise. It costs some thirty requests of a few tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.exchange import Call, Loss, Lost, Reply
from greennode_batch.api.polling.polling import Done
from greennode_batch.api.profile import PRESETS, ApiProfile
from greennode_batch.batches.submit import submit
from greennode_batch.batches.wait import poll
from greennode_batch.collect.collect import collect_shard
from greennode_batch.errors import ConfigError, GreenNodeError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.plan.build import build
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import ShardFolder, read_json, run_folder
from greennode_batch.state.attempts import FIRST_ATTEMPT, attempt_shards
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import UploadBegun, read_receipt
from greennode_faults.case import Case, Outcome

_ROWS = 4


class _DroppingClient(GreenNodeClient):
    """A client that loses the reply to the first call of an endpoint, after the server has sent it."""

    drop = ""

    def _send(self, call: Call) -> Reply | Lost:
        reply = super()._send(call)
        if self.drop and self.drop == f"{call.method} {call.path}":
            self.drop = ""
            return Lost(Loss.NO_REPLY, "dropped on purpose")
        return reply


@dataclass(frozen=True)
class _Live:
    """A server, and the folder in which its cases keep their state."""

    connect: Callable[[], _DroppingClient]
    model: str
    state: Path

    def shard(self, name: str) -> ShardFolder:
        """The one shard of a case; its prompts name the case, so no two cases share a file."""
        job = BatchJob(
            name="live",
            source=FileSource(path="rows"),
            target=FileTarget(path="out"),
            key="id",
            model=self.model,
            prompt="Say the number {{ id }} in English. ({{ case }})",
            params={"max_tokens": 20},
            canary=0,
        )
        run = run_folder(self.state, "live", name)
        plan = read_plan(run)
        if plan is None:
            rows = Rows.from_tuples(("id", "case"), iter([[(n, name) for n in range(_ROWS)]]))
            with self.connect() as client:
                plan = build(job, lambda: rows, run, run_id=name, profile=client.profile)
        (shard,) = attempt_shards(run, plan, FIRST_ATTEMPT)
        return shard

    def undisturbed(self, name: str) -> None:
        """Submit."""
        with self.connect() as client:
            submit(self.shard(name), client)

    def dropped(self, name: str, endpoint: Callable[[ApiProfile], str]) -> None:
        """Submit, and lose one reply."""
        with self.connect() as client:
            if read_receipt(self.shard(name)) is None:
                client.drop = f"POST {endpoint(client.profile)}"
            submit(self.shard(name), client)

    def killed(self, name: str) -> None:
        """Submit in a process that is killed once the create has been accepted; then submit once more."""
        shard = self.shard(name)
        if read_receipt(shard) is None:
            process = os.fork()
            if not process:
                with self.connect() as client:
                    client.create_batch = lambda *a, **o: (  # type: ignore[method-assign]
                        GreenNodeClient.create_batch(client, *a, **o),
                        os._exit(9),
                    )[0]
                    submit(shard, client)
                os._exit(0)
            os.waitpid(process, 0)
        self.undisturbed(name)

    def two_workers(self, name: str) -> None:
        """Submit twice at the same time."""
        self.shard(name)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: self.undisturbed(name), range(2)))

    def cancelled(self, name: str) -> None:
        """Submit and cancel."""
        fresh = read_receipt(self.shard(name)) is None
        self.undisturbed(name)
        receipt = read_receipt(self.shard(name))
        if fresh and receipt is not None and receipt.batch_id is not None:
            with self.connect() as client:
                client.cancel_batch(receipt.batch_id)


def run_live(options: argparse.Namespace) -> Iterator[Outcome]:
    """The outcomes of the harmless cases on a server. Start it again to continue waiting for its batches."""
    key = os.environ.get("GREENNODE_API_KEY", "")
    if not key:
        raise SystemExit("greennode_faults: the environment variable GREENNODE_API_KEY is not set")
    profile = ApiProfile.from_extra(
        {"profile": options.profile}
        if options.profile in PRESETS
        else json.loads(Path(options.profile).read_text(encoding="utf-8"))
    )
    live = _Live(lambda: _DroppingClient(options.base_url, key, profile=profile), options.model, options.state)
    acts: Mapping[str, Callable[[str], None]] = {
        "undisturbed": live.undisturbed,
        "reply to the upload dropped": lambda name: live.dropped(name, lambda one: one.upload_path),
        "reply to the create dropped": lambda name: live.dropped(name, lambda one: one.batches_path),
        "killed after the create": live.killed,
        "two workers at once": live.two_workers,
        "cancelled": live.cancelled,
    }
    began = {name: time.monotonic() for name in acts}
    problems: dict[str, list[str]] = {name: [] for name in acts}
    for name, act in acts.items():
        try:
            act(name)
        except GreenNodeError as error:
            problems[name].append(f"{type(error).__name__}: {error}")
    deadline = time.monotonic() + options.wait_seconds
    for name in acts:
        rows = 0 if problems[name] else _rows_at_the_end(live, name, deadline, problems[name])
        batches = _batches_of(live, name, problems[name])
        yield Outcome(
            case=Case(group="live", name=name),
            rows_in=_ROWS,
            rows_out=rows,
            needed=_ROWS,
            billed=_ROWS * batches,
            statuses={},
            starts=1,
            seconds=time.monotonic() - began[name],
            problems=tuple(problems[name]),
        )


def _rows_at_the_end(live: _Live, name: str, deadline: float, problems: list[str]) -> int:
    """How many requests are accounted for when the batch has ended."""
    shard = live.shard(name)
    with live.connect() as client:
        while True:
            try:
                step = poll(shard, client, now=time.time())
                if isinstance(step, Done):
                    return collect_shard(shard, client, None).total()
            except GreenNodeError as error:
                problems.append(f"{type(error).__name__}: {error}")
                return 0
            if time.monotonic() > deadline:
                problems.append("still waiting: start it again later with the same --state")
                return 0
            time.sleep(step.seconds)


def _batches_of(live: _Live, name: str, problems: list[str]) -> int:
    """How many batches the server has of the case's uploads, by the server's lists."""
    shard = live.shard(name)
    receipt = read_receipt(shard)
    begun = read_json(shard.uploading, UploadBegun)
    if receipt is None or begun is None:
        return 0
    with live.connect() as client:
        try:
            uploads = {file.id for file in client.list_files() if file.filename == begun.name} | {receipt.file_id}
            found: list[Any] = [batch for batch in client.list_batches() if batch.input_file_id in uploads]
        except (ConfigError, GreenNodeError) as error:
            problems.append(f"the server's lists cannot tell how many batches there are ({error})")
            return 1
    if len(found) != 1:
        problems.append(f"{len(found)} batches for one shard: {', '.join(batch.id for batch in found)}")
    return len(found)
