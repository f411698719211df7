"""What the engine's own steps cost, beside a floor that makes the same bytes with no safety at all.

    make bench              10,000 and 100,000 rows
    make bench QUICK=1      2,000 and 20,000 rows

Prints CPU seconds per million rows and rows per second for build, collect and join, the ratio to the floor, and the
peak memory; writes the same as JSON. The rows are made up, about 450 bytes each, so that no data is needed.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.build.plan import build
from greennode_batch.build.source import Rows
from greennode_batch.collect.anomalies import AnomalyLog
from greennode_batch.collect.answers import AnswerReader
from greennode_batch.collect.batch_files import requested_ids
from greennode_batch.collect.results import write_results
from greennode_batch.job import BatchJob, FileSource, FileTarget
from greennode_batch.join.join import join_shard
from greennode_batch.receipts import Receipt, write_receipt
from greennode_batch.staging import run_folder

WORDS = [
    "harbor",
    "quartz",
    "saffron",
    "willow",
    "ember",
    "cedar",
    "lotus",
    "mango",
    "olive",
    "pepper",
    "river",
    "tulip",
    "violet",
    "zest",
]
JOB = BatchJob(
    name="bench",
    source=FileSource(path="rows"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="Which section does this belong to? Answer with one word.\n\n{{ text }}",
    params={"max_tokens": 60, "temperature": 0},
    target=FileTarget(path="out"),
)
BATCH = Batch(id="batch_1", status=BatchStatus.COMPLETED, raw_status="completed", created_at=1.0, completed_at=2.0)


def make_rows(count: int) -> Iterator[list[tuple[int, str]]]:
    """Rows of an id and some 450 characters, in batches of 5,000; the same for the same count."""
    dice = random.Random(count)  # noqa: S311 - not a secret
    for start in range(0, count, 5_000):
        yield [(n, f"{n} {' '.join(dice.choices(WORDS, k=66))}") for n in range(start, min(start + 5_000, count))]


def result_line(custom_id: str, place: int) -> bytes:
    """A result line in OpenAI's shape, about 730 bytes."""
    answer = f"An answer of some length that is different for each row, number {place}. " * 5
    body = {
        "id": f"chatcmpl-{place}",
        "object": "chat.completion",
        "created": 1,
        "model": JOB.models[0],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 120, "completion_tokens": 60, "total_tokens": 180},
    }
    response = {"status_code": 200, "request_id": f"req_{place}", "body": body}
    return msgspec.json.encode({"id": f"r{place}", "custom_id": custom_id, "response": response, "error": None}) + b"\n"


def measure(step: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a step, and what it returns."""
    before = time.process_time()
    made = step()
    return time.process_time() - before, made


def floor(count: int, folder: Path, results: list[Path]) -> float:
    """The same bytes written and read with no ids, limits, receipts, types or checks."""

    def run() -> None:
        with (folder / "floor.jsonl").open("wb") as out:
            for rows in make_rows(count):
                for place, text in rows:
                    messages = [{"role": "user", "content": text}]
                    body = {"model": JOB.models[0], "messages": messages, **JOB.params}
                    out.write(msgspec.json.encode({"custom_id": str(place), "body": body}) + b"\n")
        answers: dict[str, str] = {}
        for path in results:
            with path.open("rb") as lines:
                for line in lines:
                    value = msgspec.json.decode(line)
                    answers[value["custom_id"]] = value["response"]["body"]["choices"][0]["message"]["content"]
        with (folder / "floor_out.jsonl").open("wb") as out:
            for pair in answers.items():
                out.write(msgspec.json.encode(pair) + b"\n")

    return measure(run)[0]


def bench(count: int) -> dict[str, Any]:
    """CPU seconds of each step at so many rows."""
    with tempfile.TemporaryDirectory(prefix="greennode-bench-") as name:
        folder = Path(name)
        run = run_folder(folder / "staging", "bench", "run")
        source_seconds = measure(lambda: sum(len(rows) for rows in make_rows(count)))[0]
        seconds, plan = measure(
            lambda: build(
                JOB, lambda: Rows.from_tuples(("id", "text"), make_rows(count)), run, run_id="run", profile=ApiProfile()
            )
        )
        steps = {"build": seconds - source_seconds, "collect": 0.0, "join": 0.0}
        reader = AnswerReader(None)
        outputs = []
        for planned in plan.shards:
            shard = run.shard(planned.shard_id)
            output = folder / f"{planned.shard_id}.jsonl"
            ids = list(requested_ids(shard))
            output.write_bytes(b"".join(result_line(custom_id, place) for place, custom_id in enumerate(ids)))
            outputs.append(output)
            results = Path(shard.results.path)
            no_log = AnomalyLog(None)
            collect = partial(write_results, BATCH, [output], anomalies=no_log)
            steps["collect"] += measure(lambda: collect(requested_ids(shard), reader, results))[0]  # noqa: B023 - at once
            write_receipt(shard, Receipt(shard_id=planned.shard_id, state="created", file_id="f", batch_id="b"))
            seconds, joined = measure(lambda: join_shard(shard, run_id="run", answer_fields=reader.fields))  # noqa: B023
            steps["join"] += seconds
            assert joined.num_rows == planned.rows
        floor_seconds = floor(count, folder, outputs) - source_seconds
    total = sum(steps.values())
    return {
        "rows": count,
        "cpu_seconds_per_million": {name: value / count * 1e6 for name, value in steps.items()},
        "total_per_million": total / count * 1e6,
        "floor_per_million": floor_seconds / count * 1e6,
        "times_the_floor": total / floor_seconds,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> int:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(".local/bench.json"))
    options = parser.parse_args()
    measured = [bench(count) for count in ((2_000, 20_000) if options.quick else (10_000, 100_000))]
    print("CPU seconds per million rows")
    print(
        f"{'rows':>10} {'build':>8} {'collect':>8} {'join':>8} {'total':>8} {'floor':>8} {'x floor':>8} {'peak MB':>8}"
    )
    for row in measured:
        steps = row["cpu_seconds_per_million"]
        print(
            f"{row['rows']:>10,} {steps['build']:>8.1f} {steps['collect']:>8.1f} {steps['join']:>8.1f} "
            f"{row['total_per_million']:>8.1f} {row['floor_per_million']:>8.1f} {row['times_the_floor']:>8.2f} "
            f"{row['peak_rss_mb']:>8.0f}"
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(measured, indent=2) + "\n")
    print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
