"""Live answers beside a plain script: wall time, CPU and memory of 10,000 requests at 0.5 s, 64 at a time.

    python benchmarks/live_requests.py                  10,000 requests, each way in a process of its own
    python benchmarks/live_requests.py --requests 1000  fewer
    python benchmarks/live_requests.py --peers          curator as well, in live mode

The plain script is what one writes in ten minutes with asyncio and httpx: it saves nothing until all is over, and stops
at the first error. All talk to one emulator, whose process is not counted. The ideal is the latency times the rounds.
CPU, memory and wall time are with what a way imports when it begins.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from peers import environment_of, script_of
from upath import UPath

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.batches.live_pace import LiveLimits
from greennode_batch.batches.live_shard import answer_live
from greennode_batch.staging.folders import ShardFolder
from greennode_emulator.chat_latency import Latency
from greennode_emulator.server import running
from greennode_emulator.settings import Settings

_MODEL = "google/gemma-4-31b-it"
_AT_A_TIME = 64
_LATENCY_SECONDS = 0.5
_MEBI = 1024

Way = Callable[[Path, str, str], None]


def live(shard: Path, url: str, key: str) -> None:
    """Answer a shard as the engine does."""
    with GreenNodeClient(url, key) as client:
        answer_live(ShardFolder(UPath(shard)), client, limits=LiveLimits(max_concurrency=_AT_A_TIME))


def plain(shard: Path, url: str, key: str) -> None:
    """Answer it as a plain script does."""

    async def ask_all() -> list[str]:
        limits = httpx.Limits(max_connections=_AT_A_TIME, max_keepalive_connections=_AT_A_TIME)
        turns = asyncio.Semaphore(_AT_A_TIME)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(limits=limits, timeout=60, headers=headers) as client:

            async def ask(line: str) -> str:
                request = json.loads(line)
                async with turns:
                    reply = await client.post(f"{url}/chat/completions", json=request["body"])
                reply.raise_for_status()
                response = {"status_code": reply.status_code, "body": reply.json()}
                return json.dumps({"custom_id": request["custom_id"], "response": response})

            return await asyncio.gather(*map(ask, (shard / "requests.jsonl").read_text().splitlines()))

    (shard / "output.jsonl").write_text("\n".join(asyncio.run(ask_all())) + "\n")


def curator(shard: Path, url: str, key: str) -> None:
    """Answer it as bespokelabs-curator does in live mode."""
    python, script = environment_of("curator"), script_of("curator_live")
    subprocess.run(
        [python, script, shard / "requests.jsonl", shard, url, str(_AT_A_TIME), shard / "output.jsonl"],
        env={**os.environ, "HOME": str(shard), "OPENAI_API_KEY": key, "TELEMETRY_ENABLED": "false"},
        cwd=shard,
        check=True,
        capture_output=True,
    )


def make_shard(folder: Path, requests: int) -> Path:
    """A shard of so many requests."""
    with (folder / "requests.jsonl").open("w") as file:
        for number in range(requests):
            body = json.dumps({"model": _MODEL, "messages": [{"role": "user", "content": f"Question {number}"}]})
            custom_id = hashlib.blake2b(body.encode(), digest_size=16).hexdigest()
            file.write(f'{{"custom_id":"{custom_id}","body":{body}}}\n')
    return folder


def measured(way: Way, requests: int, url: str, key: str) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and MiB of one way, in a separate process. ValueError if an answer is missing."""
    with tempfile.TemporaryDirectory(prefix="greennode-bench-") as folder:
        shard = make_shard(Path(folder), requests)
        context = multiprocessing.get_context("spawn")
        results = context.SimpleQueue()
        process = context.Process(target=_measure, args=(way, shard, url, key, results))
        process.start()
        process.join()
        lines = len((shard / "output.jsonl").read_bytes().splitlines())
        if process.exitcode or lines != requests:
            raise ValueError(f"{way.__name__}: {lines:,} of {requests:,} requests have an answer")
        figures: tuple[float, float, int] = results.get()
        return figures


def _measure(way: Way, shard: Path, url: str, key: str, results: multiprocessing.SimpleQueue[object]) -> None:
    began = time.monotonic()
    way(shard, url, key)
    used = resource.getrusage(resource.RUSAGE_CHILDREN if way is curator else resource.RUSAGE_SELF)
    results.put((time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss // _MEBI))


def main() -> None:
    """Measure all ways, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000, metavar="N")
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    requests, ways = options.requests, [plain, live]
    if options.peers:
        environment_of("curator")
        ways.append(curator)
    ideal = -(-requests // _AT_A_TIME) * _LATENCY_SECONDS
    print(f"{requests:,} requests at {_LATENCY_SECONDS} s, {_AT_A_TIME} at a time; ideal {ideal:.1f} s")
    print("          wall s  of ideal   CPU s     MiB")
    with running(Settings(chat_latency=Latency(_LATENCY_SECONDS))) as emulator:
        figures = {}
        for way in ways:
            wall, cpu, mib = figures[way.__name__] = measured(way, requests, emulator.base_url, emulator.api_key)
            print(f"{way.__name__:<8}{wall:>8.1f}{wall / ideal:>10.2f}{cpu:>8.1f}{mib:>8}")
    mine = figures.pop("live")
    for name, theirs in figures.items():
        ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
        words = [
            f"{ratio:.2f} of its {what}" for ratio, what in zip(ratios, ("wall time", "CPU", "memory"), strict=True)
        ]
        print(f"live beside {name}: {', '.join(words)}")


if __name__ == "__main__":
    main()
