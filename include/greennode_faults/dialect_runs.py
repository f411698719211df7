"""Unknown servers, drawn from seeds: a table is run on each, with the default profile and with the probe's.

On each a run ends with all rows right, or it stops after its pilot with an error that names a field of the profile; no
answer is paid for twice, and none is deleted unread.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

from upath import UPath

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import GreenNodeError
from greennode_batch.probe.probe_run import Probe
from greennode_batch.run import run_to_file
from greennode_batch.staging.folders import run_folder
from greennode_emulator.dialects.choices import choices_of, describe
from greennode_emulator.dialects.generated import PREFIX
from greennode_emulator.server import RunningEmulator, running
from greennode_emulator.settings import Settings
from greennode_faults.case import Case
from greennode_faults.engine import bench
from greennode_faults.stage import MODEL, ROWS, Answers, FastClock, make_job, open_source, problems_of, rows_out

End = Literal["right", "stopped", "wrong"]

_BATCH_SECONDS = 3.0
_PROBE_SECONDS = 4_000.0
_HOST = "127.0.0.1"
# So that the table has a second shard, which is not sent before results of the first were read.
_PILOT_REQUESTS = 10


class Ending(NamedTuple):
    """How a run ended: with all rows right, stopped by an error that names a field, or wrong. words: what and why."""

    end: End
    words: str
    billed: int


class DialectRun(NamedTuple):
    """One server: what it does differently, and a run with the default profile and one with the probe's."""

    seed: int
    choices: str
    default: Ending
    probed: Ending
    seconds: float

    def __str__(self) -> str:
        ends = f"{self.seed:>6}  {self.default.end:<8}{self.probed.end:<8}{self.seconds:5.1f} s  {self.choices}"
        said = [f"        {ending.words}" for ending in (self.default, self.probed) if ending.end != "right"]
        return "\n".join([ends, *said])


def run_dialects(seeds: Iterable[int]) -> Iterator[DialectRun]:
    """A run against the server of each seed."""
    with bench("openai") as stage:
        wanted = stage.wanted
    for seed in seeds:
        yield run_dialect(seed, wanted)


def run_dialect(seed: int, wanted: Answers) -> DialectRun:
    """A run against the server of one seed. wanted: the answers of a server with nothing unusual."""
    began = time.monotonic()
    clock = FastClock()
    settings = Settings(dialect=f"{PREFIX}{seed}", batch_seconds=_BATCH_SECONDS, clock=clock)
    with running(settings) as emulator, TemporaryDirectory(prefix="greennode-dialect-") as folder:
        default = _ending(emulator, ApiProfile(), clock, Path(folder, "default"), wanted)
        emulator.reset()
        probe = Probe(
            emulator.base_url,
            emulator.api_key,
            UPath(folder) / "probe",
            model=MODEL,
            allow_http_hosts=[_HOST],
            wait_seconds=_PROBE_SECONDS,
            sleep=clock.sleep,
            now=clock,
        )
        profile = probe.run().found.profile
        emulator.reset()
        probed = _ending(emulator, profile, clock, Path(folder, "probed"), wanted)
    return DialectRun(seed, describe(choices_of(seed)), default, probed, time.monotonic() - began)


def _ending(emulator: RunningEmulator, profile: ApiProfile, clock: FastClock, folder: Path, wanted: Answers) -> Ending:
    folder.mkdir()
    out = folder / "answers.parquet"
    error: GreenNodeError | None = None
    with GreenNodeClient(
        emulator.base_url,
        emulator.api_key,
        profile=profile,
        allow_http_hosts=[_HOST],
        clock=clock,
        sleep=clock.sleep,
    ) as client:
        try:
            run_to_file(
                make_job(out, {}),
                open_source,
                client,
                run_folder(folder / "staging", "faults", "run"),
                out,
                run_id="run",
                pilot_requests=_PILOT_REQUESTS,
                clock=clock,
                sleep=clock.sleep,
            )
        except GreenNodeError as stop:
            error = stop
    ledger = emulator.ledger()
    billed = ledger["requests_billed"]
    if error is None:
        problems = problems_of(rows_out(out), ledger, wanted, Case(group="", name=""))
        return Ending("wrong", "; ".join(problems), billed) if problems else Ending("right", "", billed)
    words = f"{type(error).__name__}: {error}"
    if any(times > 1 for times in ledger["requests"].values()):
        return Ending("wrong", f"paid for twice, then {words}", billed)
    if billed and ledger["files_deleted"]:
        return Ending("wrong", f"{billed} of {ROWS} answers billed, files deleted, then {words}", billed)
    if billed > _PILOT_REQUESTS:
        return Ending("wrong", f"{billed} of {ROWS} answers billed, more than the pilot's, then {words}", billed)
    names = [field.name for field in dataclasses.fields(ApiProfile) if field.name in str(error)]
    return Ending("stopped" if names else "wrong", words, billed)
