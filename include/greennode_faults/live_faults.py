"""Live faults: what goes wrong while a run is answered live, and a kill at each of its steps.

Every row must be there. What was billed must be one answer a request, and one more at most for each reply that was lost
and for each request that was in flight at a kill; the receipts say how many these are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from greennode_batch.api.async_client import AsyncGreenNodeClient
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.exchange import Call, Lost, Reply
from greennode_batch.batches.live_pace import LiveLimits
from greennode_batch.errors import GreenNodeError
from greennode_batch.job.live_mode import Live
from greennode_batch.run import run_to_file
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.attempts import all_sent
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import read_receipt
from greennode_emulator.server import RunningEmulator, running
from greennode_emulator.settings import Settings
from greennode_faults.case import SUCCEEDED, Case, Outcome
from greennode_faults.kills import StepCounter, forked, wait_for
from greennode_faults.stage import ROWS, Answers, RowOut, make_job, open_source, rows_out

_CHAT = "POST /chat/completions"
_STARTS = 4
_LIVE = Live(only=True)
# A chat has fifteen times as long.
_TIMEOUT_SECONDS = 0.2
_GROUP = "live"


def _case(name: str, *faults: Mapping[str, Any], **options: Any) -> Case:
    struck = tuple({"endpoint": _CHAT, **fault} for fault in faults)
    return Case(group=_GROUP, name=name, faults=struck, **{"job": {"live": _LIVE}, **options})


LIVE_CASES = (
    _case("nothing goes wrong"),
    _case("storm of 429", {"kind": "storm", "seconds": 2, "headers": {"Retry-After": "1"}}),
    _case("reset before the bill", {"kind": "reset_before", "skip": 3, "count": 4}),
    _case("reset after the bill", {"kind": "reset_after", "skip": 3, "count": 4}),
    _case("502 after the bill", {"kind": "error_after", "status": 502, "skip": 5, "count": 2}),
    _case("a body that stops in the middle", {"kind": "stalled", "fraction": 0.5, "skip": 2, "count": 1}),
    _case("the key expires, and is renewed", {"kind": "status", "status": 401, "skip": 10, "count": 1}),
    _case("the credit runs out, and is topped up", {"kind": "status", "status": 402, "skip": 10, "count": 1}),
    _case(
        "requests that are rejected",
        {"kind": "status", "status": 400, "skip": 4, "count": 3},
        statuses=frozenset({"succeeded", "failed"}),
    ),
    _case(
        "a server that slows down", {"kind": "slowing", "seconds": 0.02, "factor": 1.1, "stop_after": 30, "count": 34}
    ),
    _case(
        "the deadline in mid-shard",
        {"kind": "slow", "seconds": 0.6, "bytes_per_second": 1_000_000, "count": None},
        job={"live": Live(only=True, finish_by=timedelta(seconds=2))},
        statuses=frozenset({"succeeded", "expired"}),
    ),
)


def live_outcomes(*, only: str | None = None, stride: int = 1) -> Iterator[Outcome]:
    """The outcomes of the cases, and of kills at every step, or at every so many."""
    cases = [case for case in LIVE_CASES if only is None or only in f"{case.group} {case.name}"]
    with running(Settings()) as emulator:
        wanted = undisturbed(emulator) if cases or only is None else {}
        for case in cases:
            yield run_live_case(emulator, wanted, case)
        if only is None:
            for step in range(1, count_steps(emulator) + 1, stride):
                yield kill_at(emulator, wanted, step)


def undisturbed(emulator: RunningEmulator) -> Answers:
    """The answers of a run that nothing disturbs."""
    with TemporaryDirectory(prefix="greennode-faults-") as folder:
        _run(emulator, Path(folder), LIVE_CASES[0])
        return {row.id: row.answer for row in rows_out(Path(folder, "answers.parquet"))}


def run_live_case(emulator: RunningEmulator, wanted: Answers, case: Case) -> Outcome:
    """The outcome of one case: the same run is started until it ends."""
    emulator.reset()
    if case.faults:
        emulator.faults([dict(fault) for fault in case.faults])
    began = time.monotonic()
    error: GreenNodeError | None = None
    with TemporaryDirectory(prefix="greennode-faults-") as name:
        for starts in range(1, _STARTS + 1):  # noqa: B007 - the number of the last counts
            try:
                _run(emulator, Path(name), case)
            except GreenNodeError as trouble:
                error = trouble
            else:
                error = None
                break
        outcome = _outcome(emulator, wanted, case, Path(name), starts=starts, seconds=time.monotonic() - began)
    if error is None:
        return outcome
    return _with_problem(outcome, f"{type(error).__name__}: {error}")


def count_steps(emulator: RunningEmulator) -> int:
    """How many steps an undisturbed run has."""
    emulator.reset()
    with TemporaryDirectory(prefix="greennode-faults-") as name:
        report = Path(name, "steps")
        wait_for(forked(lambda: _stepped(emulator, Path(name), StepCounter(None, "kill"), report)))
        return int(report.read_text())


def kill_at(emulator: RunningEmulator, wanted: Answers, step: int) -> Outcome:
    """Kill a run at a step, let another one finish, and check rows and bills."""
    emulator.reset()
    began = time.monotonic()
    case = Case(group="live, kill -9", name=f"at step {step}")
    with TemporaryDirectory(prefix="greennode-faults-") as name:
        wait_for(forked(lambda: _stepped(emulator, Path(name), StepCounter(step, "kill"), None)))
        end = wait_for(forked(lambda: _stepped(emulator, Path(name), StepCounter(None, "kill"), None)))
        outcome = _outcome(emulator, wanted, case, Path(name), starts=2, seconds=time.monotonic() - began)
    return outcome if end == "done" else _with_problem(outcome, f"the second start ended with {end}")


def _stepped(emulator: RunningEmulator, folder: Path, counter: StepCounter, report: Path | None) -> None:
    """A run in its own process, which may change its modules freely."""
    counter.around(Path, "replace")
    counter.around(Path, "hardlink_to")
    send = AsyncGreenNodeClient._send  # noqa: SLF001 - a step is before and after it

    async def sent(client: AsyncGreenNodeClient, call: Call) -> Reply | Lost:
        counter.step()
        outcome = await send(client, call)
        counter.step()
        return outcome

    setattr(AsyncGreenNodeClient, "_send", sent)  # noqa: B010 - mypy would have it be a method
    _run(emulator, folder, LIVE_CASES[0])
    if report is not None:
        report.write_text(str(counter.steps))


def _run(emulator: RunningEmulator, folder: Path, case: Case) -> None:
    out = folder / "answers.parquet"
    job = make_job(out, {**case.job, "attempts": 1})
    run = run_folder(folder / "staging", job.name, "run")
    with GreenNodeClient(emulator.base_url, emulator.api_key, timeout=_TIMEOUT_SECONDS) as client:
        run_to_file(
            job, open_source, client, run, out, run_id="run", limits=LiveLimits(max_concurrency=4), sleep=lambda _: None
        )


def _outcome(
    emulator: RunningEmulator, wanted: Answers, case: Case, folder: Path, *, starts: int, seconds: float
) -> Outcome:
    rows, ledger = rows_out(folder / "answers.parquet"), emulator.ledger()
    billed, may_be_paid_twice = ledger["chat_requests_billed"], _may_be_paid_twice(folder)
    requests = len(ledger["chat_requests"])
    return Outcome(
        case=case,
        rows_in=ROWS,
        rows_out=len(rows),
        needed=requests,
        billed=billed,
        statuses={status: sum(row.status == status for row in rows) for status in sorted({r.status for r in rows})},
        starts=starts,
        seconds=seconds,
        problems=tuple(_problems(rows, wanted, case, billed - requests, may_be_paid_twice)),
    )


def _problems(
    rows: list[RowOut], wanted: Answers, case: Case, paid_again: int, may_be_paid_twice: int
) -> Iterator[str]:
    if sorted(row.id for row in rows) != list(range(ROWS)):
        yield f"rows lost or doubled: {len(rows)} of {ROWS}"
    seen = {row.status for row in rows if row.custom_id is not None}
    if seen != case.statuses and not (case.statuses == SUCCEEDED and not seen):
        yield f"rows ended as {', '.join(sorted(seen))}"
    if any(row.status == "succeeded" and row.answer != wanted[row.id] for row in rows):
        yield "a row has another answer than without the fault"
    if paid_again > may_be_paid_twice:
        yield f"{paid_again} answers paid for again, and the receipts say {may_be_paid_twice} at most"


def _may_be_paid_twice(folder: Path) -> int:
    """What the receipts of the run say."""
    run = run_folder(folder / "staging", "faults", "run")
    plan = read_plan(run)
    receipts = [read_receipt(one.folder(run)) for one in all_sent(run, plan)] if plan is not None else []
    return sum(receipt.live.may_be_paid_twice for receipt in receipts if receipt is not None and receipt.live)


def _with_problem(outcome: Outcome, words: str) -> Outcome:
    return replace(outcome, problems=(*outcome.problems, words))
