"""A case on the engine: run it to its end, start it again whenever it stops, and check rows and bills."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import ApiError, GreenNodeError
from greennode_batch.run import run_to_file
from greennode_batch.staging.folders import run_folder
from greennode_emulator.server import RunningEmulator, running
from greennode_emulator.settings import Settings
from greennode_faults.case import Case, Outcome
from greennode_faults.stage import (
    ROWS,
    Answers,
    FastClock,
    make_job,
    needed,
    open_source,
    problems_of,
    rows_out,
)

_STARTS = 12
# On FastClock, a create is over long before it is searched for the last time.
_TIMEOUT_SECONDS = 0.5
_BATCH_SECONDS = 0.04


@dataclass(frozen=True)
class Bench:
    """An emulator of one dialect, and its answers when nothing goes wrong."""

    emulator: RunningEmulator
    wanted: Answers

    def run(self, case: Case) -> Outcome:
        """The outcome of one case."""
        self.emulator.reset()
        if case.faults:
            self.emulator.faults([dict(fault) for fault in case.faults])
        before = self.emulator.armed()
        began = time.monotonic()
        with TemporaryDirectory(prefix="greennode-faults-") as folder:
            out = Path(folder, "answers.parquet")
            starts, error = _run_to_the_end(case, self.emulator, Path(folder), out)
            rows = rows_out(out)
        ledger = self.emulator.ledger()
        problems = [f"{type(error).__name__}: {error}"] if error is not None else []
        if case.error is not None and error is not None and type(error).__name__ == case.error:
            problems = [] if needed(ledger) == ledger["requests_billed"] else ["paid for twice"]
        elif error is None:
            if case.error is not None:
                problems.append(f"ended without {case.error}")
            problems += problems_of(rows, ledger, self.wanted, case)
        if case.faults and self.emulator.armed() == before:
            problems.append("the fault did not strike")
        return Outcome(
            case=case,
            rows_in=ROWS,
            rows_out=len(rows),
            needed=needed(ledger),
            billed=ledger["requests_billed"],
            statuses={status: sum(row.status == status for row in rows) for status in sorted({r.status for r in rows})},
            starts=starts,
            seconds=time.monotonic() - began,
            problems=tuple(problems),
        )


@contextmanager
def bench(dialect: str) -> Iterator[Bench]:
    """An emulator of a dialect, and its undisturbed answers."""
    with running(Settings(dialect=dialect, batch_seconds=_BATCH_SECONDS)) as emulator, TemporaryDirectory() as folder:
        profile = {} if dialect == "unknown" else {"profile": dialect}
        case = Case(group="", name="", profile=profile, dialect=dialect)
        out = Path(folder, "answers.parquet")
        _run_to_the_end(case, emulator, Path(folder), out)
        yield Bench(emulator, {row.id: row.answer for row in rows_out(out)})


def run_cases(cases: Sequence[Case]) -> Iterator[Outcome]:
    """The outcomes of cases; consecutive cases of one dialect share an emulator."""
    rest = list(cases)
    while rest:
        dialect = rest[0].dialect
        with bench(dialect) as stage:
            while rest and rest[0].dialect == dialect:
                yield stage.run(rest.pop(0))


def _run_to_the_end(
    case: Case, emulator: RunningEmulator, folder: Path, out: Path
) -> tuple[int, GreenNodeError | None]:
    """How often the run was started, and the error that it could not get past.

    Whatever the API's trouble is, the same command is started again, as a person or Airflow would do.
    """
    job = make_job(out, case.job)
    run = run_folder(folder / "staging", job.name, "run")
    clock = FastClock()
    error: GreenNodeError | None = None
    for starts in range(1, _STARTS + 1):
        with GreenNodeClient(
            emulator.base_url,
            emulator.api_key,
            profile=ApiProfile.from_extra(case.profile),
            timeout=_TIMEOUT_SECONDS,
            clock=clock,
            sleep=clock.sleep,
        ) as client:
            try:
                run_to_file(
                    job,
                    open_source,
                    client,
                    run,
                    out,
                    run_id="run",
                    pilot_requests=0,  # the faults strike a server that is already known
                    clock=clock,
                    sleep=clock.sleep,
                )
            except ApiError as trouble:
                error = trouble
                if type(trouble).__name__ == case.error:
                    break
            except GreenNodeError as trouble:
                return starts, trouble
            else:
                return starts, None
    return starts, error
