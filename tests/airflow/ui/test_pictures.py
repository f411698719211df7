"""Makes the pictures of the page in docs/pictures/. It is `make pictures`, and no part of `make test`.

Tickets, complaints, answers and prices in them are made up, and the server is the emulator.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from playwright.sync_api import expect

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.reconcile.report import report
from greennode_batch.staging.folders import RunFolder, write_json
from greennode_batch.state.approval_record import Approval
from greennode_batch.state.plan import Plan
from greennode_batch.state.receipts import read_receipt, write_receipt
from greennode_batch.write.join import join_shard
from greennode_batch.write.joined_rows import CountedRows, note_joined

pytestmark = [pytest.mark.pictures, pytest.mark.timeout(600)]
PICTURES = Path(__file__).parents[3] / "docs" / "pictures"
HIGHEST, MAX_BYTES = 1400, 300_000
JOB = {"prices": {"google/gemma-4-31b-it": [5671, 14178]}, "params": {"max_tokens": 60}}
TOO_LONG = {
    "kind": "line_error",
    "status": 400,
    "code": "invalid_request",
    "message": "This model's maximum context length is 32768 tokens. Please reduce the length of the messages.",
    "rate": 0.07,
}
TOO_MANY = ("FailedRowsError", "9.2 % of the rows have no answer, more than max_failed_ratio allows")
CUT_OFF = {"kind": "cut_off", "rate": 0.02}
SUBJECTS = ("The delivery", "My last order", "The invoice of May", "The blue lamp", "Your app", "The refund")
WHAT = ("never arrived", "is wrong", "came twice", "does not open", "is broken", "took three weeks", "is excellent")
DAY = 86_400.0
DARK = {"color_scheme": "dark"}


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
    """Runs of three jobs: some that went well, one that failed, one that is at work, and two of which nothing is sent.

    By what they are, where their pages are.
    """

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
        "complaint_labels",
        texts("C", 1500),
        state="failed",
        age=5400.0,
        lasted=534,
        tasks=[("report", -1, "failed", TOO_MANY)],
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
    asks = add_run("catalogue_tags", state="running", age=95, tasks=[("approve_spend", -1, "awaiting_input")])
    run, plan = build_run("catalogue_tags", asks, texts("SKU", 700, day=4), per_shard=400, **JOB)
    cost = plan.estimate.cost if plan.estimate and plan.estimate.cost else 2150.0
    write_json(run.approval, Approval(cost, "VND"))
    dry = add_run(
        "complaint_labels", age=DAY, lasted=9, conf={"dry_run": True}, tasks=[("build_requests", -1, "success")]
    )
    build_run("complaint_labels", dry, texts("C", 323, day=2), per_shard=400, **JOB)
    add_run("catalogue_tags", state="queued")
    runs = {
        "running": ("support_tickets", running),
        "failed": ("complaint_labels", failed),
        "approval": ("catalogue_tags", asks),
        "dry run": ("complaint_labels", dry),
    }
    pages = {name: "run?" + urlencode({"dag_id": dag_id, "run_id": run_id}) for name, (dag_id, run_id) in runs.items()}
    return {"list": "", **pages}


def take(page: Any, name: str) -> None:
    """A picture down to where a run's folder is told, for that is one of this machine."""
    end = page.evaluate("document.getElementById('report')?.offsetTop ?? document.querySelector('main').offsetHeight")
    path = PICTURES / f"{name}.png"
    width = page.evaluate("innerWidth")
    page.screenshot(path=path, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": min(end, HIGHEST)})
    assert 10_000 < path.stat().st_size < MAX_BYTES


def test_pictures_of_the_page(addresses: dict[str, str], open_page: Callable[..., Any]) -> None:
    def poll(name: str, seen: str, rows: int, **options: Any) -> Any:
        page = open_page(addresses[name], role="admin", **options)
        expect(page.locator(seen)).to_have_count(rows, timeout=30_000)
        return page

    phone = {"viewport": {"width": 390, "height": 900}, "device_scale_factor": 2, "is_mobile": True}
    for picture, options in (("page-running", {}), ("page-running-dark", DARK), ("page-phone", phone)):
        page = poll("running", "#shards tr", 7, **options)
        expect(page.locator("#progress")).to_contain_text("done at GreenNode", timeout=30_000)
        take(page, picture)
    page = poll("failed", "#shards tr", 4)
    expect(page.locator("#answer-list tbody tr")).to_have_count(5)
    take(page, "page-failed")
    take(poll("approval", "#shards tr", 2), "page-approval")
    take(poll("dry run", "#shards tr", 1), "page-dry-run")
    # By now the server has said how far the batches are.
    take(poll("list", "#runs tr", 9), "page-list")
