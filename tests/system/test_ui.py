"""The page in Airflow's UI, in a headless Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from greennode_local.chromium import find_chromium
from greennode_local.credentials import ADMIN
from greennode_local.stack import LocalStack

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(400),
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed"),
]
DAG = "support_tickets"
HOSTILE = "<img src=x onerror=\"top.document.title='owned'\"><script>top.document.title='owned'</script>"
# Airflow's own page takes its time to begin with, on a machine that is busy.
PATIENCE = 90_000


@pytest.fixture(scope="module")
def problems() -> list[str]:
    """What the console said in anger."""
    return []


@pytest.fixture(scope="module")
def page(stack: LocalStack, browser: Browser, problems: list[str]) -> Iterator[Page]:
    """A browser that is logged in at this Airflow as its admin."""
    url = stack.airflow.home.url
    credentials = {"username": ADMIN, "password": stack.airflow.home.credentials.admin_password}
    with httpx.Client(trust_env=False) as http:
        token = http.post(f"{url}/auth/token", json=credentials).json()["access_token"]
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    context.add_cookies([{"name": "_token", "value": token, "url": url}])
    page = context.new_page()
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    expect.set_options(timeout=None)
    context.close()


@pytest.fixture(scope="module")
def ask_all(stack: LocalStack) -> Callable[[dict[str, Any]], str]:
    """Start a run that asks a dozen changed tickets, one of a hostile key, whose batch meets a fault; the run's id."""

    def ask(fault: dict[str, Any]) -> str:
        stack.emulator.http.post(f"{stack.emulator.url}/_emulator/faults", json=[fault]).raise_for_status()
        with stack.warehouse() as connection:
            connection.execute(
                "DELETE FROM support_tickets WHERE ticket_id NOT IN "
                "(SELECT ticket_id FROM support_tickets ORDER BY ticket_id LIMIT 12)"
            )
            connection.execute(
                "UPDATE support_tickets SET ticket_id = %s WHERE ticket_id = (SELECT max(ticket_id) "
                "FROM support_tickets) AND NOT EXISTS (SELECT FROM support_tickets WHERE ticket_id = %s)",
                [HOSTILE, HOSTILE],
            )
            connection.execute("UPDATE support_tickets SET body = body || ' Please answer.'")
        stack.airflow.client.unpause(DAG)
        return stack.airflow.client.trigger(DAG)

    return ask


@pytest.fixture(scope="module")
def failed_run(stack: LocalStack, ask_all: Callable[[dict[str, Any]], str]) -> str:
    """A run none of whose rows has got an answer."""
    run_id = ask_all({"kind": "line_error", "status": 400, "batches": 1})
    assert stack.airflow.client.wait_for_run(DAG, run_id, seconds=200) == "failed"
    return run_id


@pytest.fixture(scope="module")
def waiting_run(stack: LocalStack, failed_run: str, ask_all: Callable[[dict[str, Any]], str]) -> str:
    """A run whose batch stays half done at the server until it is cancelled."""
    return ask_all({"kind": "stuck", "status": "in_progress", "seconds": None, "fraction": 0.5})


def run_page(stack: LocalStack, run_id: str) -> str:
    query = urlencode({"dag_id": DAG, "run_id": run_id})
    return f"{stack.airflow.home.url}/plugin/greennode-batches/greennode/run?{query}"


def frame_of(page: Page) -> FrameLocator:
    return page.frame_locator("iframe")


def test_hostile_rows_are_shown_as_they_are_and_what_failed_is_said_with_reasons(
    stack: LocalStack, page: Page, failed_run: str, problems: list[str]
) -> None:
    page.goto(f"{stack.airflow.home.url}/plugin/greennode-batches")
    frame = frame_of(page)
    frame.locator("#runs a").filter(has_text=failed_run).click()
    failures = frame.locator("#failures")
    expect(failures).to_contain_text(HOSTILE)
    expect(failures).to_contain_text("400")
    # The sentence that report has failed with, by Airflow's own API.
    expect(failures).to_contain_text(re.compile(r"report.*Failed: \d+.* rows", re.DOTALL))
    expect(frame.locator("#state")).to_contain_text("more than the job allows")
    assert frame.locator("main img, main script").count() == 0
    assert "owned" not in page.title()
    assert [one for one in problems if "/greennode" in one or "Security Policy" in one] == []


def test_a_run_has_the_page_as_a_tab(stack: LocalStack, page: Page, failed_run: str) -> None:
    page.goto(f"{stack.airflow.home.url}/dags/{DAG}/runs/{failed_run.replace('+', '%2B')}")
    page.get_by_role("link", name="GreenNode", exact=True).click()
    expect(frame_of(page).locator("#state")).to_contain_text("more than the job allows")


def test_a_waiting_run_shows_its_progress_and_is_cancelled_after_a_question(
    stack: LocalStack, page: Page, waiting_run: str
) -> None:
    page.goto(run_page(stack, waiting_run))
    frame = frame_of(page)
    # Half of the requests are done, as the server says.
    expect(frame.locator(".large [role=progressbar]")).to_have_attribute("aria-valuenow", "50")
    cancel = frame.get_by_role("button", name="Cancel batches…")
    cancel.click()
    expect(frame.locator("#cancel-no")).to_be_focused()
    page.keyboard.press("Escape")
    expect(cancel).to_be_focused()
    assert "POST /batches/{id}/cancel" not in stack.emulator.ledger()["calls"]
    cancel.click()
    frame.locator("#cancel-yes").click()
    expect(frame.locator("#cancel-progress")).to_contain_text("asked to end 1 batch")
    assert stack.emulator.ledger()["calls"]["POST /batches/{id}/cancel"] == 1
    frame.locator("#cancel-no").click()
    expect(frame.locator("#notes")).to_contain_text(f"{ADMIN} cancelled on this page")


def test_the_tasks_link_to_the_page_and_the_page_to_the_tasks(stack: LocalStack, page: Page, waiting_run: str) -> None:
    task = f"/api/v2/dags/{DAG}/dagRuns/{waiting_run.replace('+', '%2B')}/taskInstances/attempt_1.wait_for_batch"
    page.goto(run_page(stack, waiting_run))
    link = frame_of(page).locator("#shards a").first
    expect(link).to_be_visible()
    links = page.evaluate(f"fetch('{task}/links?map_index=0').then(reply => reply.json())")["extra_links"]
    assert links["Run and report"].endswith(run_page(stack, waiting_run).partition("/plugin/")[2])
    assert links["Staging folder"] == f"{links['Run and report']}#report"
    link.click()
    page.wait_for_url(re.compile(f"/dags/{DAG}/runs/"))


def test_a_run_that_a_person_marks_as_failed_says_by_whom_and_how_its_batch_is(
    stack: LocalStack, page: Page, waiting_run: str, ask_all: Callable[[dict[str, Any]], str]
) -> None:
    # One run at a time.
    stack.airflow.client.set_run_state(DAG, waiting_run, "failed")
    stack.airflow.client.wait_for_run(DAG, waiting_run, seconds=200)
    run_id = ask_all({"kind": "stuck", "status": "in_progress", "seconds": None, "fraction": 0.5})
    page.goto(run_page(stack, run_id))
    frame = frame_of(page)
    expect(frame.locator("#state")).to_contain_text("Waiting for GreenNode: 1 batch is there.")
    expect(frame.locator("#shards")).to_contain_text("Waiting for GreenNode, without a worker.")
    stack.airflow.client.set_run_state(DAG, run_id, "failed")
    expect(frame.locator("#state")).to_contain_text(f"{ADMIN} marked the run")
    assert stack.airflow.client.wait_for_run(DAG, run_id, seconds=200) == "failed"
    expect(frame.locator("#state")).to_contain_text(f"{ADMIN} marked the run as failed.")
    # The triggerer cancels what it waits for; of a batch that it had not begun to wait for, the page says how it is.
    cancelled, left = (
        f"Cancelled at GreenNode by {ADMIN}, and not collected.",
        "Still at GreenNode, although the run is over.",
    )
    expect(frame.locator("#shards")).to_contain_text(re.compile(f"{re.escape(cancelled)}|{re.escape(left)}"))
    is_left = left in frame.locator("#shards").inner_text()
    expect(frame.locator("#shards").get_by_role("button", name="Cancel")).to_have_count(int(is_left))
