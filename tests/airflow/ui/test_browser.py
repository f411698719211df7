"""The page in a real browser: what it shows of runs, and what its buttons do."""

from __future__ import annotations

import time
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from greennode_batch.staging.folders import run_folder, write_json
from greennode_batch.state.approval_record import Approval
from greennode_batch.state.run_identity import note_run
from greennode_batch.state.stops import Stop, note_stop, unread_path

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
STUCK = {"kind": "stuck", "status": "in_progress", "seconds": None, "fraction": 0.5, "count": None}
WAITING = [("attempt_1.wait_for_batch", 0, "deferred"), ("attempt_1.submit_batch", 0, "success")]


@pytest.fixture(autouse=True)
def _patience():
    """The page asks again every few seconds, on a machine that may be busy."""
    expect.set_options(timeout=30_000)
    yield
    expect.set_options(timeout=None)


def texts(count):
    return [(f"t{number}", f"text {number}") for number in range(count)]


def address(run_id, **more):
    return "run?" + urlencode({"dag_id": "tickets", "run_id": run_id, **more})


def test_a_dry_run_says_that_nothing_was_sent_and_promises_no_report(open_page, add_run, build_run, connection) -> None:
    run_id = add_run("tickets", conf={"dry_run": True}, tasks=[("build_requests", -1, "success")])
    build_run("tickets", run_id, texts(323))
    page = open_page(address(run_id))
    expect(page.locator("#state")).to_contain_text("Dry run: 323 requests are built and none was sent")
    expect(page.locator("#next")).to_contain_text("trigger the DAG without Dry run")
    expect(page.locator("#progress")).to_have_text("323 requests are built, and no batch was sent.")
    expect(page.locator("#shards")).to_contain_text("A dry run sends nothing.")
    expect(page.locator("#files")).to_contain_text("none, because no batch was sent")
    expect(page.locator("#tiles")).to_contain_text("no batch was sent")
    assert page.get_by_role("button", name="Cancel").count() == 0


def test_an_approval_leads_to_required_actions(open_page, add_run, build_run, connection) -> None:
    run_id = add_run("tickets", state="running", tasks=[("approve_spend", -1, "awaiting_input")])
    run, _ = build_run("tickets", run_id, texts(3))
    write_json(run.approval, Approval(1200, "VND"))
    page = open_page(address(run_id))
    expect(page.locator("#state")).to_contain_text("Waiting for a person to approve about 1,200 VND")
    link = page.locator("#actions").get_by_role("link", name="Approve or reject in Airflow")
    expect(link).to_have_attribute("href", f"/dags/tickets/runs/{quoted(run_id)}/tasks/approve_spend/required_actions")
    expect(page.locator("#shards")).to_contain_text("a person has to approve the run")


def quoted(run_id):
    return run_id.replace(":", "%3A").replace("+", "%2B")


def test_a_rejected_run_says_by_whom(open_page, add_run, build_run, connection) -> None:
    run_id = add_run("tickets", state="failed", tasks=[("approve_spend", -1, "failed"), ("report", -1, "failed")])
    run, _ = build_run("tickets", run_id, texts(3))
    write_json(run.approval, Approval(1200, "VND", approved=False, by="ann", at=time.time()))
    page = open_page(address(run_id))
    expect(page.locator("#state")).to_contain_text("ann rejected about 1,200 VND, so no batch was sent")
    expect(page.locator("#next")).to_contain_text("clear approve_spend")


def test_a_failed_task_says_its_sentence_as_text(open_page, add_run, build_run, connection) -> None:
    why = ("ConfigError", f"job tickets: no column {HOSTILE}")
    run_id = add_run("tickets", state="failed", tasks=[("build_requests", -1, "failed", why)])
    build_run("tickets", run_id, texts(1))
    page = open_page(address(run_id))
    expect(page.locator("#state")).to_contain_text(HOSTILE)
    expect(page.locator("#failure-list")).to_contain_text(HOSTILE)
    assert page.locator("main img, main script").count() == 0
    page = open_page()
    expect(page.locator("#runs")).to_contain_text(HOSTILE)
    assert page.title() == "GreenNode batches"


def test_cancelling_asks_first_and_a_marked_run_then_offers_nothing_to_cancel(
    open_page, add_run, build_run, submit_all, connection, note_act, live_at_once
) -> None:
    run_id = add_run("tickets", state="failed", tasks=[("attempt_1.wait_for_batch", 0, "failed")])
    note_act("tickets", run_id, "patch_dag_run", state="failed")
    connection.faults([STUCK])
    submit_all(*build_run("tickets", run_id, texts(20), per_shard=10))
    page = open_page(address(run_id))
    expect(page.locator("#state")).to_contain_text("ann marked the run as failed.")
    cancel = page.get_by_role("button", name="Cancel batches…")
    cancel.click()
    expect(page.locator("#cancel-no")).to_be_focused()
    page.keyboard.press("Escape")
    expect(cancel).to_be_focused()
    assert "POST /batches/{id}/cancel" not in connection.ledger(summary=True)["calls"]
    cancel.click()
    page.locator("#cancel-yes").click()
    expect(page.locator("#cancel-progress")).to_contain_text("asked to end 2 batches")
    page.locator("#cancel-no").click()
    expect(page.locator("#notes")).to_contain_text("user cancelled on this page")
    expect(page.locator("#shards")).to_contain_text("Clear wait_for_batch")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_counts_stay_while_the_server_is_down_and_the_page_says_so(
    open_page, add_run, build_run, submit_all, connection, live_at_once
) -> None:
    run_id = add_run("tickets", state="running", tasks=WAITING)
    connection.faults([STUCK])
    submit_all(*build_run("tickets", run_id, texts(20)))
    page = open_page(address(run_id))
    expect(page.locator(".large [role=progressbar]")).to_have_attribute("aria-valuenow", "50")
    connection.faults([{"kind": "status", "endpoint": "GET /batches", "status": 503, "count": None}])
    expect(page.locator("#state")).to_contain_text("cannot reach at the moment")
    expect(page.locator(".large [role=progressbar]")).to_have_attribute("aria-valuenow", "50")
    expect(page.locator("#progress")).to_contain_text("from its last report")


def test_answers_and_rows_that_failed_stand_beside_each_other(
    open_page, add_run, build_run, submit_all, collect_all, connection
) -> None:
    run_id = add_run("tickets")
    connection.faults([{"kind": "line_error", "status": 400, "count": 3}])
    built = build_run("tickets", run_id, [(HOSTILE, HOSTILE), *texts(20)])
    submit_all(*built)
    collect_all(*built)
    page = open_page(address(run_id))
    expect(page.locator("#answer-list tbody tr")).to_have_count(5)
    # Reasons, then rows.
    expect(page.locator("#failure-list tbody tr")).to_have_count(4)
    assert page.locator("main img, main script").count() == 0


def test_what_stops_a_run_is_said_with_samples_as_text(open_page, add_run, build_run, connection) -> None:
    run_id = add_run("tickets", state="failed", tasks=[("attempt_1.collect_results", 0, "failed")])
    run, plan = build_run("tickets", run_id, texts(3))
    shard = run.shard(plan.shards[0].shard_id)
    why = "no line of 3 settles a request: see content_path in the profile"
    note_stop(unread_path(shard), Stop("unread_results", None, shard.shard_id, 1, why, (HOSTILE,), time.time()))
    page = open_page(address(run_id))
    expect(page.locator("#failure-list")).to_contain_text(why)
    expect(page.locator("#failure-list pre")).to_be_hidden()
    page.locator("#failure-list summary").click()
    expect(page.locator("#failure-list pre")).to_have_text(HOSTILE)
    assert page.title() != "owned"


def test_a_report_opens_without_running_what_is_in_it(open_page, add_run, build_run, staging, connection) -> None:
    run_id = add_run("tickets", tasks=[("page", -1, "success")])
    build_run("tickets", run_id, texts(1))
    folder = run_folder(staging, "tickets", run_id)
    note_run(folder, dag_id="tickets", run_id=run_id)
    (folder.path / "page.html").write_bytes(f"<style>h1{{color:rgb(1,2,3)}}</style><h1>Hello</h1>{HOSTILE}".encode())
    page = open_page(address(run_id))
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Report: Page").click()
    report = opened.value
    heading = report.get_by_role("heading", name="Hello")
    expect(heading).to_have_css("color", "rgb(1, 2, 3)")
    assert report.title() != "owned"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_sticks_out_on_a_phone_or_a_wide_screen(
    width, scheme, open_page, add_run, build_run, submit_all, collect_all, connection
) -> None:
    why = ("ConfigError", "a_name_that_is_longer_than_a_phone_is_wide_" * 4)
    run_id = add_run("tickets", state="failed", tasks=[("attempt_1.collect_results", 0, "failed", why)])
    built = build_run("tickets", run_id, texts(12))
    submit_all(*built)
    collect_all(*built)
    for where, seen in ((address(run_id), "#shards tr"), ("", "#runs tr")):
        page = open_page(where, viewport={"width": width, "height": 900}, color_scheme=scheme)
        expect(page.locator(seen)).to_have_count(1)
        root = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert root[0] == root[1] == width
        assert page.evaluate("document.documentElement.dataset.theme") == scheme


def test_the_tab_of_a_run_without_a_job_says_so(open_page, add_run, connection, errors_expected) -> None:
    add_run("others", "run_1")
    page = open_page("run?dag_id=others&run_id=run_1")
    expect(page.locator("#title")).to_have_text("others")
    expect(page.locator("#problem")).to_contain_text("no such run of a GreenNode job")


def test_a_run_that_has_no_job_says_so(open_page, add_run, connection) -> None:
    add_run("others", "run_1")
    page = open_page("?dag_id=others")
    expect(page.locator("#empty")).to_have_text("others has run no GreenNode job.")


def test_where_airflow_shows_the_list_at_the_address_of_a_run_it_leads_there_once(
    open_page, add_run, build_run, page_url, connection
) -> None:
    run_id = add_run("tickets", state="running")
    build_run("tickets", run_id, texts(3))
    page = open_page()
    frame_of_3_2 = {"body": '<iframe src="/greennode/"></iframe>', "content_type": "text/html"}
    page.route("**/plugin/**", lambda route: route.fulfill(**frame_of_3_2))
    page.goto(page_url.replace("/greennode/", f"/plugin/greennode-batches/greennode/{address(run_id)}#report"))
    frame = page.frame_locator("iframe")
    expect(frame.locator("#title")).to_contain_text("tickets")
    assert page.frames[1].url.endswith("#report")
    frame.get_by_role("link", name="All runs").click()
    expect(frame.locator("#runs")).to_contain_text(run_id)
