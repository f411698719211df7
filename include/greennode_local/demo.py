"""`make demo`: one table through the whole pipeline, on real parts, with everything checked at the end."""
# ruff: noqa: T201 - this module prints its results

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from greennode_local.airflow_home import PROJECT
from greennode_local.demo_outcome import Outcome, first_rows, read_outcome
from greennode_local.run_progress import watch_run
from greennode_local.samples import SAMPLES, Sample, data_of, load
from greennode_local.stack import LocalStack
from greennode_local.table_text import format_table

HOME = PROJECT / ".local" / "demo"
_SHOWN_ROWS = 10


@dataclass
class Clock:
    """Seconds since the start, and by phase."""

    start: float = field(default_factory=time.monotonic)
    phases: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.monotonic)

    def say(self, line: str) -> None:
        """Print a line with the time since the start."""
        print(f"{self.elapsed():6.1f} s  {line}", flush=True)

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    def lap(self, phase: str) -> None:
        """End the phase that began with the previous lap."""
        now = time.monotonic()
        self.phases[phase] = now - self._last
        self._last = now


def run_demo(
    *, job: str, data: Path | None, home: Path = HOME, batch_seconds: float = 2, timeout_seconds: float = 900
) -> None:
    """Run the job's DAG once over its sample, print the results, stop everything. Raises if anything is wrong."""
    sample = SAMPLES[job]
    first = SAMPLES[sample.after or job]
    source = data_of(first, data)
    clock = Clock()
    clock.say(f"starting PostgreSQL, the GreenNode emulator and Airflow in {_short(home)}")
    with LocalStack(home, fresh=True, batch_seconds=batch_seconds, say=clock.say) as stack:
        with stack.warehouse() as connection:
            rows = load(connection, first, source)
        clock.say(f"loaded {rows} rows into table {first.source_table}")
        stack.wait_until_ready({first.dag_id, job})
        clock.lap("start")
        run_id = _run(stack, first, sample, say=clock.say, seconds=timeout_seconds)
        clock.lap("pipeline")
        outcome = _show(stack, sample, run_id)
        clock.lap("check")
    clock.lap("stop")
    print("time      ", ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in clock.phases.items()))
    outcome.check()
    print(f"demo ok: {outcome.rows_in} rows in, {outcome.rows_out} rows out, {outcome.succeeded} succeeded")


def _run(stack: LocalStack, first: Sample, sample: Sample, *, say: Callable[[str], None], seconds: float) -> str:
    """Trigger the first sample's DAG, and wait for it and the run that its end starts; returns the latter."""
    client = stack.airflow.client
    for dag_id in {first.dag_id, sample.dag_id}:
        client.unpause(dag_id)
    run_id = client.trigger(first.dag_id, logical_date=first.logical_date)
    say(f"triggered DAG {first.dag_id}")
    watch_run(stack, first.dag_id, run_id, say=say, seconds=seconds)
    if sample is not first:
        run_id = client.wait_for_a_run(sample.dag_id, seconds=60)
        say(f"table {sample.source_table} is written, which has started DAG {sample.dag_id}")
        watch_run(stack, sample.dag_id, run_id, say=say, seconds=seconds)
    return run_id


def _show(stack: LocalStack, sample: Sample, run_id: str) -> Outcome:
    with stack.warehouse() as connection:
        outcome = read_outcome(connection, sample)
        columns, rows = first_rows(connection, sample, limit=_SHOWN_ROWS)
    ledger = stack.emulator.ledger()
    memory = {service.name: service.memory_mb() for service in stack.services}
    print(f"\n{sample.source_table} -> {sample.target_table}, the first {len(rows)} of {outcome.rows_out} rows\n")
    print(format_table(columns, rows, width=shutil.get_terminal_size((120, 24)).columns))
    print()
    print("status    ", ", ".join(f"{count} {status}" for status, count in outcome.by_status.items()))
    print(f"tokens     {outcome.prompt_tokens:,} prompt, {outcome.completion_tokens:,} completion")
    print(f"billed     {ledger['requests_billed']:,} requests, {ledger['batches_created']} batch(es)")
    print("memory    ", ", ".join(f"{name} {mb:.0f} MB" for name, mb in memory.items()))
    if sample.result_task:
        print("result    ", stack.airflow.client.xcom(sample.dag_id, run_id, sample.result_task))
    return outcome


def _short(path: Path) -> Path:
    return path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path
