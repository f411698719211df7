"""The page in Airflow's UI, in a headless Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from greennode_local.chromium import Page, chromium_page, find_chromium
from greennode_local.credentials import ADMIN
from greennode_local.stack import LocalStack

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(400),
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed"),
]
DAG = "support_tickets"
HOSTILE = "<img src=x onerror=\"top.document.title='owned'\"><script>top.document.title='owned'</script>"
FRAME = "document.querySelector('iframe').contentDocument"


@pytest.fixture(scope="module")
def page(stack: LocalStack) -> Iterator[Page]:
    """A browser that is logged in at this Airflow as its admin."""
    url = stack.airflow.home.url
    credentials = {"username": ADMIN, "password": stack.airflow.home.credentials.admin_password}
    with httpx.Client(trust_env=False) as http:
        token = http.post(f"{url}/auth/token", json=credentials).json()["access_token"]
    with chromium_page() as page:
        page.call("Network.setCookie", name="_token", value=token, url=url)
        yield page


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


def test_hostile_rows_are_shown_as_they_are_and_what_failed_is_said_with_reasons(
    stack: LocalStack, page: Page, failed_run: str
) -> None:
    page.goto(f"{stack.airflow.home.url}/plugin/greennode-batches")
    page.wait_for(f"{FRAME}.querySelectorAll('#runs tr').length >= 1 && /failed/.test({FRAME}.body.innerText)")
    page.evaluate(f"[...{FRAME}.querySelectorAll('#runs a')].find(a => a.textContent.includes('{failed_run}')).click()")
    page.wait_for(f"{FRAME}.querySelectorAll('#failure-list tbody tr').length > 12")
    page.wait_for("location.pathname.endsWith('/greennode/run')")
    said = page.evaluate(f"{FRAME}.getElementById('failures').innerText")
    assert HOSTILE in said
    assert "400" in said
    assert "report" in said
    assert page.evaluate(f"{FRAME}.querySelectorAll('main img, main script').length") == 0
    assert "owned" not in page.evaluate("document.title + document.querySelector('iframe').contentDocument.title")
    assert [problem for problem in page.problems if "/greennode" in problem or "Security Policy" in problem] == []


def test_a_waiting_run_shows_its_progress_and_is_cancelled_after_a_question(
    stack: LocalStack, page: Page, waiting_run: str
) -> None:
    page.goto(run_page(stack, waiting_run))
    # Half of the requests are done, as the server says.
    page.wait_for(
        f"{FRAME}.querySelector('.large [role=progressbar]').getAttribute('aria-valuenow') === '50'", seconds=90
    )
    cancel = f"{FRAME}.querySelector('#actions button')"
    page.wait_for(f"{cancel} !== null && !{FRAME}.getElementById('cancel').open")
    page.evaluate(f"{cancel}.focus(); {cancel}.click()")
    assert page.evaluate(f"{FRAME}.activeElement.id") == "cancel-no"
    page.press("Escape", 27)
    assert page.evaluate(f"{FRAME}.getElementById('cancel').open") is False
    assert page.evaluate(f"{FRAME}.activeElement.textContent") == "Cancel batches…"
    assert "POST /batches/{id}/cancel" not in stack.emulator.ledger()["calls"]
    page.evaluate(f"{cancel}.click()")
    page.evaluate(f"{FRAME}.getElementById('cancel-yes').click()")
    page.wait_for(f"/asked to end 1 batch/.test({FRAME}.getElementById('cancel-progress').textContent)")
    assert stack.emulator.ledger()["calls"]["POST /batches/{id}/cancel"] == 1


def test_the_tasks_link_to_the_page_and_the_page_to_the_tasks(stack: LocalStack, page: Page, waiting_run: str) -> None:
    task = f"/api/v2/dags/{DAG}/dagRuns/{waiting_run.replace('+', '%2B')}/taskInstances/attempt_1.wait_for_batch"
    page.goto(run_page(stack, waiting_run))
    page.wait_for(f"{FRAME}.querySelector('#shards a') !== null")
    links = page.evaluate(f"fetch('{task}/links?map_index=0').then(reply => reply.json())")["extra_links"]
    assert links["Run and report"].endswith(run_page(stack, waiting_run).partition("/plugin/")[2])
    assert links["Staging folder"] == f"{links['Run and report']}#report"
    page.evaluate(f"{FRAME}.querySelector('#shards a').click()")
    page.wait_for(f"location.pathname.startsWith('/dags/{DAG}/runs/')")
