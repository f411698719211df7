"""Two kinds of servers that no code is made for, several of each: a profile is all that a table needs there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.witness.enveloped_servers import ENVELOPED
from tests.witness.invented_server import KEY, MODEL, InventedServer, answer_to
from tests.witness.signed_servers import SIGNED
from upath import UPath

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.probe.probe_run import Outcome, Probe
from greennode_batch.run import run_to_file
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder
from greennode_faults.stage import FastClock

ROWS = [(n, f'Ticket {n}: trả lời\u2028返信 "now"\\') for n in range(20)]
SERVERS = [*ENVELOPED, *SIGNED]


@pytest.fixture(params=SERVERS, ids=lambda kind: kind.__name__)
def server(request: pytest.FixtureRequest) -> Iterator[InventedServer]:
    with request.param() as running:
        yield running


def run(server: InventedServer, profile: ApiProfile, folder: Path) -> list[dict[str, Any]]:
    """The rows that a run of the table leaves, in two shards and a pilot before them."""
    folder.mkdir(exist_ok=True)
    clock, out = FastClock(), folder / "out.parquet"
    job = BatchJob(
        name="invented",
        source=FileSource(path="rows"),
        target=FileTarget(path=str(out)),
        key="id",
        model=MODEL,
        prompt="{{ text }}",
        canary=0,
        max_shard_requests=8,
        attempts=2,
    )
    with GreenNodeClient(server.base_url, KEY, profile=profile, clock=clock, sleep=clock.sleep) as client:
        run_to_file(
            job,
            lambda: Rows.from_tuples(("id", "text"), iter([ROWS])),
            client,
            run_folder(folder / "staging", job.name, "run"),
            out,
            run_id="run",
            pilot_requests=4,
            clock=clock,
            sleep=clock.sleep,
        )
    return pq.read_table(out).to_pylist()


def probe(server: InventedServer, folder: Path) -> Outcome:
    """A probe that begins with what of a server's paths only its description can say."""
    clock = FastClock()
    known = {name: server.hand[name] for name in server.described}
    outcome = Probe(
        server.base_url,
        KEY,
        UPath(folder),
        model=MODEL,
        profile=ApiProfile.from_extra(known),
        wait_seconds=600.0,
        sleep=clock.sleep,
        now=clock,
    ).run()
    server.forget()
    return outcome


def assert_right(server: InventedServer, rows: list[dict[str, Any]]) -> None:
    assert {row["id"]: row["answer"] for row in rows} == {n: answer_to(text) for n, text in ROWS}
    assert Counter(row["status"] for row in rows) == {"succeeded": len(ROWS)}
    assert set(server.billed.values()) == {1}
    assert len(server.billed) == len(ROWS)


def test_a_profile_alone_brings_every_row_home_and_pays_once(server, tmp_path):
    rows = run(server, ApiProfile.from_extra(server.hand), tmp_path)
    assert_right(server, rows)
    assert server.created == 3


def test_a_create_that_got_no_reply_is_found_and_not_sent_again(server, tmp_path):
    server.drops = 2
    rows = run(server, ApiProfile.from_extra(server.hand), tmp_path)
    assert server.drops == 0
    assert_right(server, rows)


def test_the_profile_that_the_probe_prints_brings_every_row_home(server, tmp_path):
    outcome = probe(server, tmp_path / "probe")
    assert outcome.state.ended is None, outcome.text
    rows = run(server, outcome.found.profile, tmp_path / "run")
    assert_right(server, rows)
