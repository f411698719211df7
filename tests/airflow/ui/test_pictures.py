"""Makes the pictures of the page in docs/. It is `make pictures`, and no part of `make test`.

Tickets, complaints, answers and prices in them are made up, and the server is the emulator.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
import uvicorn

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.reconcile.report import report
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.plan import Plan
from greennode_batch.state.receipts import read_receipt, write_receipt
from greennode_batch.write.join import join_shard
from greennode_batch.write.joined_rows import CountedRows, note_joined
from greennode_local.chromium import Page, chromium_page
from greennode_local.ports import free_port

pytestmark = [pytest.mark.pictures, pytest.mark.timeout(600)]
DOCS = Path(__file__).parents[3] / "docs"
HIGHEST, MAX_BYTES = 1400, 300_000
JOB = {"prices": {"google/gemma-4-31b-it": [5671, 14178]}, "params": {"max_tokens": 60}}
TOO_LONG = {
    "kind": "line_error",
    "status": 400,
    "code": "invalid_request",
    "message": "This model's maximum context length is 32768 tokens. Please reduce the length of the messages.",
    "rate": 0.07,
}
CUT_OFF = {"kind": "cut_off", "rate": 0.02}
SUBJECTS = ("The delivery", "My last order", "The invoice of May", "The blue lamp", "Your app", "The refund")
WHAT = ("never arrived", "is wrong", "came twice", "does not open", "is broken", "took three weeks", "is excellent")
DAY = 86_400.0
HAS_ROWS = "document.querySelectorAll('{} tr').length >= {}"


def texts(name: str, count: int, *, day: int = 0) -> list[tuple[str, str]]:
    chance = random.Random(f"{name} {day}")
    return [
        (f"{name}-{20_000 + 400 * day + number}", f"{chance.choice(SUBJECTS)} {chance.choice(WHAT)}, no. {number}.")
        for number in range(count)
    ]


def account(run: RunFolder, plan: Plan) -> None:
    """Join a run's rows and make its report, as its last tasks do."""
    for planned in plan.shards:
        shard = run.shard(planned.shard_id)
        with join_shard(shard, owner=plan.owner, answer_fields=AnswerReader(None).fields) as rows:
            joined = CountedRows(rows, plan.target_key)
            for _ in joined:
                pass
            note_joined(shard, joined)
    report(run, prices=plan.prices)


@pytest.fixture
def addresses(connection, add_run, build_run, submit_all, collect_all, live_at_once) -> dict[str, str]:
    """Runs of three jobs: some that went well, one that failed and one that is at work; where their pages are."""

    def finish(job: str, rows: Any, **run: Any) -> str:
        run_id = add_run(job, **run)
        built = build_run(job, run_id, rows, per_shard=400, **JOB)
        submit_all(*built)
        collect_all(*built)
        account(*built)
        return run_id

    for day in (3, 2, 1):
        finish("support_tickets", texts("T", 900 + 37 * day, day=day), age=day * DAY, lasted=380 + 97 * day)
    finish("catalogue_tags", texts("SKU", 620), age=0.6 * DAY, lasted=291)
    connection.faults([TOO_LONG, CUT_OFF])
    failed = finish(
        "complaint_labels", texts("C", 1500), state="failed", age=5400.0, lasted=534, tasks=[("report", -1, "failed")]
    )
    connection.disarm()

    collected = [("attempt_1.collect_results", number, "success") for number in range(2)]
    waiting = [("attempt_1.wait_for_batch", number, "deferred") for number in range(2, 7)]
    running = add_run("support_tickets", state="running", age=260, tasks=[*collected, *waiting])
    run, plan = build_run("support_tickets", running, texts("T", 2450), per_shard=350, **JOB)
    folders = [run.shard(shard.shard_id) for shard in plan.shards]
    submit_all(run, msgspec.structs.replace(plan, shards=plan.shards[:2]))
    collect_all(run, msgspec.structs.replace(plan, shards=plan.shards[:2]))
    for planned, fraction in zip(plan.shards[2:], (0.82, 0.64, 0.71, 0.37, 0.55), strict=True):
        stuck = {"kind": "stuck", "status": "in_progress", "seconds": None, "fraction": fraction, "count": 1}
        connection.faults([stuck])
        submit_all(run, msgspec.structs.replace(plan, shards=(planned,)))
    for number, folder in enumerate(folders):
        write_receipt(folder, msgspec.structs.replace(read_receipt(folder), created_at=time.time() - 220 + 5 * number))
    add_run("catalogue_tags", state="queued")
    return {
        "list": "",
        "running": "run?" + urlencode({"dag_id": "support_tickets", "run_id": running}),
        "failed": "run?" + urlencode({"dag_id": "complaint_labels", "run_id": failed}),
    }


@pytest.fixture
def poll(client_of) -> Iterator[Callable[..., Page]]:
    """Opens the page, served to a browser that is logged in, and waits until it shows what it has to."""
    admin = client_of("admin")
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(admin.app, port=port, log_level="warning"))
    served = threading.Thread(target=server.run)
    served.start()
    url = f"http://127.0.0.1:{port}/greennode/"
    with chromium_page() as page:
        page.call("Network.setCookie", name="_token", value=admin.cookies["_token"], url=url)

        def open_page(address: str, seen: str, *, width: int = 1440, is_phone: bool = False) -> Page:
            page.resize(width, 900, is_phone=is_phone)
            page.goto(url + address)
            page.wait_for(f"document.readyState === 'complete' && {seen}")
            return page

        yield open_page
    server.should_exit = True
    served.join()


def take(page: Page, name: str) -> None:
    """A picture down to where a run's folder is told, for that is one of this machine."""
    end = page.evaluate("document.getElementById('report')?.offsetTop ?? document.querySelector('main').offsetHeight")
    path = DOCS / f"{name}.png"
    page.screenshot(path, height=min(end, HIGHEST))
    assert 10_000 < path.stat().st_size < MAX_BYTES


def test_pictures_of_the_page(addresses, poll) -> None:
    at_work = HAS_ROWS.format("#shards", 7) + " && /done at GreenNode/.test(document.body.innerText)"
    page = poll(addresses["running"], at_work)
    take(page, "page-running")
    page.prefer_dark(is_dark=True)
    take(poll(addresses["running"], at_work), "page-running-dark")
    page.prefer_dark(is_dark=False)
    take(poll(addresses["failed"], HAS_ROWS.format("#failure-list", 5)), "page-failed")
    take(poll(addresses["running"], at_work, width=390, is_phone=True), "page-phone")
    # By now the server has said how far the batches are.
    take(poll(addresses["list"], HAS_ROWS.format("#runs", 7)), "page-list")
