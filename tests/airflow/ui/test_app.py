from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.models.log import Log
from sqlalchemy import select

from greennode_airflow.ui import app as page_app
from greennode_batch.monitor import file_cache as seen_files
from greennode_batch.staging.folders import write_json

STATIC = Path(page_app.__file__).parent / "static"
API = "/greennode/api"
WAITING = [("attempt_1.wait_for_batch", 0, "deferred"), ("attempt_1.submit_batch", 0, "success")]
STUCK = {"kind": "stuck", "status": "in_progress", "seconds": None, "fraction": 0.5, "count": None}
JSON = {"content-type": "application/json"}


def texts(count):
    return [(f"t{number}", f"text {number}") for number in range(count)]


@pytest.fixture
def waiting_run(add_run, build_run, submit_all, connection):
    """A run of `tickets` whose two batches are at the server, half done; its id and their ids."""
    connection.faults([STUCK])
    run_id = add_run("tickets", state="running", tasks=WAITING)
    run, plan = build_run("tickets", run_id, texts(20), per_shard=10)
    return run_id, submit_all(run, plan)


@pytest.fixture
def only_tickets(monkeypatch):
    """An auth manager that lets nobody read or edit any DAG but `tickets`."""
    allowed = SimpleAuthManager.is_authorized_dag

    def is_authorized(self, *, method, user, access_entity=None, details=None):
        if details is None or details.id != "tickets":
            return False
        return allowed(self, method=method, user=user, access_entity=access_entity, details=details)

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", is_authorized)


def routes():
    """Every route of the page, with its method, in a form that can be asked for."""
    requested = "?dag_id=tickets&run_id=run_1"
    pages = [
        "/greennode/",
        f"/greennode/run{requested}",
        *(f"/greennode/static/{path.name}" for path in STATIC.iterdir()),
    ]
    pages += [f"/greennode/manual/{name}" for name in ("index.md", "pictures/page-list.png")]
    pages.append(f"/greennode/report{requested}&name=page.html")
    reading = [f"{API}/{name}{requested}" for name in ("runs", "run", "shards", "failed-rows", "answers")]
    return [*(("GET", path) for path in pages + reading), ("POST", f"{API}/cancel{requested}")]


def test_every_route_there_is_is_asked_for_below(client_of) -> None:
    app = client_of(None).app.routes[-1].app
    made = {(method, route.path) for route in app.routes for method in route.methods - {"HEAD"}}
    plain = {(method, re.sub(r"static/.*", "static/{name}", path.partition("?")[0])) for method, path in routes()}
    requested = {(method, re.sub(r"manual/.*", "manual/{name:path}", path)) for method, path in plain}
    assert {(method, f"/greennode{path}") for method, path in made} == requested


@pytest.mark.parametrize(("method", "path"), routes())
def test_nothing_at_all_is_served_without_a_login(client_of, method, path) -> None:
    answer = client_of(None).request(method, path, headers=JSON, content="{}" if method == "POST" else None)
    assert answer.status_code == 401
    assert answer.json() == {"detail": "Not authenticated"}


@pytest.mark.parametrize(("method", "path"), routes())
def test_a_forged_login_is_none(client_of, method, path) -> None:
    browser = client_of(None)
    browser.cookies.set("_token", "eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJhZG1pbiIsInJvbGUiOiJBRE1JTiJ9.c2ln")
    answer = browser.request(method, path, headers=JSON, content="{}" if method == "POST" else None)
    assert answer.status_code in {401, 403}


def test_a_user_sees_only_the_dags_that_they_may_read(
    client_of, add_run, build_run, pretend_sent, only_tickets, connection
) -> None:
    secret = {"dag_id": "salaries", "run_id": "run_1"}
    for dag_id in ("tickets", "salaries"):
        add_run(dag_id, "run_1", state="running")
        run, plan = build_run(dag_id, "run_1", texts(2))
        pretend_sent(run, [shard.shard_id for shard in plan.shards])
    admin = client_of("admin")
    listed = admin.get(f"{API}/runs").json()
    assert [run["dag_id"] for run in listed["runs"]] == ["tickets"]
    assert (listed["dags"], listed["total"], listed["summary"]["runs"]) == (["tickets"], 1, 1)
    assert admin.get(f"{API}/runs", params={"dag_id": "salaries"}).json()["runs"] == []
    assert admin.get(f"{API}/runs", params={"search": "salaries"}).json()["runs"] == []
    for name in ("run", "shards", "failed-rows", "answers"):
        answer = admin.get(f"{API}/{name}", params=secret)
        assert (answer.status_code, "t0" in answer.text) == (403, False)
    assert admin.post(f"{API}/cancel", params=secret, json={}).status_code == 403
    # What is asked for twice is checked as it is used.
    twice = admin.get(f"{API}/run?dag_id=tickets&run_id=run_1&dag_id=salaries")
    assert twice.status_code == 403
    assert admin.get(f"{API}/run", params={"dag_id": "~", "run_id": "run_1"}).status_code == 404


def test_a_viewer_may_look_and_not_cancel(client_of, waiting_run, connection) -> None:
    run_id, _ = waiting_run
    requested = {"dag_id": "tickets", "run_id": run_id}
    viewer = client_of("viewer")
    assert viewer.get(f"{API}/run", params=requested).json()["may_edit"] is False
    assert viewer.post(f"{API}/cancel", params=requested, json={}).status_code == 403
    assert "POST /batches/{id}/cancel" not in connection.ledger(summary=True)["calls"]
    assert client_of("user").get(f"{API}/run", params=requested).json()["may_edit"] is True


def test_a_form_or_a_script_of_another_site_cancels_nothing(client_of, waiting_run, connection) -> None:
    run_id, _ = waiting_run
    user = client_of("user")
    requested = {"dag_id": "tickets", "run_id": run_id}
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = user.post(f"{API}/cancel", params=requested, content="{}", headers={"content-type": kind})
        assert answer.status_code in {415, 422}, kind
    for site in ("cross-site", "same-site"):
        answer = user.post(f"{API}/cancel", params=requested, json={}, headers={"sec-fetch-site": site})
        assert answer.status_code == 403
    assert "POST /batches/{id}/cancel" not in connection.ledger(summary=True)["calls"]


def test_cancelling_ends_the_batches_and_leaves_a_note_of_who_did(client_of, waiting_run, connection, session) -> None:
    run_id, batch_ids = waiting_run
    requested = {"dag_id": "tickets", "run_id": run_id}
    user = client_of("user")
    answer = user.post(f"{API}/cancel", params=requested, json={}, headers={"sec-fetch-site": "same-origin"})
    assert answer.json() == {"requested": 2, "failed": {}, "next": None}
    assert connection.ledger(summary=True)["calls"]["POST /batches/{id}/cancel"] == 2
    session.expire_all()
    (entry,) = session.scalars(select(Log).where(Log.event == "greennode_cancel"))
    assert (entry.dag_id, entry.run_id, entry.owner) == ("tickets", run_id, "user")
    assert all(batch_id in entry.extra for batch_id in batch_ids)


def test_one_batch_alone_can_be_cancelled(client_of, waiting_run, connection) -> None:
    run_id, _ = waiting_run
    requested = {"dag_id": "tickets", "run_id": run_id}
    user = client_of("user")
    shard = user.get(f"{API}/shards", params=requested).json()["shards"][1]["figures"]
    body = {"shard_id": shard["shard_id"], "attempt": 1}
    assert user.post(f"{API}/cancel", params=requested, json=body).json()["requested"] == 1
    assert connection.ledger(summary=True)["calls"]["POST /batches/{id}/cancel"] == 1


def test_many_batches_are_cancelled_some_at_a_time(client_of, add_run, build_run, pretend_sent, connection) -> None:
    run_id = add_run("tickets", state="running")
    run, plan = build_run("tickets", run_id, texts(1))
    ids = [f"{number:032x}" for number in range(90)]
    shards = tuple(msgspec.structs.replace(plan.shards[0], shard_id=shard_id) for shard_id in ids)
    write_json(run.plan, msgspec.structs.replace(plan, rows=90, requests=90, shards=shards))
    pretend_sent(run, ids)
    user, requested = client_of("user"), {"dag_id": "tickets", "run_id": run_id}
    start, seen = 0, 0
    while start is not None:
        answer = user.post(f"{API}/cancel", params=requested, json={"start": start}).json()
        seen += answer["requested"] + len(answer["failed"])
        assert len(answer["failed"]) <= 40
        start = answer["next"]
    assert seen == 90


def test_a_server_that_is_down_is_told_and_nothing_is_said_to_be_done(client_of, waiting_run, set_connection) -> None:
    run_id, _ = waiting_run
    set_connection(host="http://127.0.0.1:9/v1", password="secret-key-of-mine")
    answer = client_of("user").post(f"{API}/cancel", params={"dag_id": "tickets", "run_id": run_id}, json={})
    assert answer.json()["requested"] == 0
    assert len(answer.json()["failed"]) == 2
    assert "secret-key-of-mine" not in answer.text


def test_a_running_run_shows_how_far_the_server_is(client_of, waiting_run, live_at_once) -> None:
    run_id, batch_ids = waiting_run
    viewer, requested = client_of("viewer"), {"dag_id": "tickets", "run_id": run_id}
    first = viewer.get(f"{API}/run", params=requested).json()["row"]
    assert (first["state"], first["status"]["words"], first["figures"]["unheard"]) == (
        "running",
        "Waiting for GreenNode: 2 batches are there.",
        2,
    )
    figures = viewer.get(f"{API}/run", params=requested).json()["row"]["figures"]
    assert (figures["requested"], figures["unheard"], figures["stages"]) == (20, 0, {"sent": 2})
    assert 0 < figures["done"] < 20
    (shard, _) = viewer.get(f"{API}/shards", params=requested).json()["shards"]
    assert (shard["figures"]["batch_id"], shard["task"]["name"], shard["task"]["status"]["name"]) == (
        batch_ids[0],
        "attempt_1.wait_for_batch [0]",
        "waiting",
    )
    assert shard["task"]["url"].endswith("/tasks/attempt_1.wait_for_batch/mapped/0")


def test_a_failed_run_says_which_task_and_which_rows(
    client_of, add_run, build_run, submit_all, collect_all, connection
):
    connection.faults([{"kind": "line_error", "status": 400, "count": 3}])
    run_id = add_run(
        "tickets", state="failed", tasks=[("report", -1, "failed"), ("attempt_1.submit_batch", 1, "failed")]
    )
    run, plan = build_run("tickets", run_id, texts(10))
    submit_all(run, plan)
    collect_all(run, plan)
    viewer, requested = client_of("viewer"), {"dag_id": "tickets", "run_id": run_id}
    detail = viewer.get(f"{API}/run", params=requested).json()
    assert {task["name"] for task in detail["tasks"]} == {"report", "attempt_1.submit_batch [1]"}
    assert (detail["row"]["figures"]["failed"], detail["row"]["status"]["badge"]) == (3, "failed")
    rows = viewer.get(f"{API}/failed-rows", params=requested).json()
    assert (len(rows["rows"]), rows["reasons"][0]["rows"]) == (3, 3)
    only = viewer.get(f"{API}/shards", params={**requested, "state": "with_failures"}).json()
    assert only["total"] == 1


def test_runs_are_filtered_searched_and_paged_the_latest_first(client_of, add_run, build_run, connection) -> None:
    for number in range(25):
        run_id = add_run("tickets", f"tickets_{number:02}.x", state="failed" if number % 5 == 0 else "success")
        build_run("tickets", run_id, texts(1))
    add_run("reviews", "reviews_1", state="running")
    build_run("reviews", "reviews_1", texts(1))
    add_run("no_job_of_ours")
    viewer = client_of("viewer")

    def ids(**query):
        found = viewer.get(f"{API}/runs", params=query).json()
        return [run["run_id"] for run in found["runs"]], found["total"]

    assert ids(limit=3) == (["reviews_1", "tickets_24.x", "tickets_23.x"], 26)
    assert ids(limit=3, offset=24) == (["tickets_01.x", "tickets_00.x"], 26)
    assert ids(state="failed", limit=2) == (["tickets_20.x", "tickets_15.x"], 5)
    assert ids(dag_id="reviews")[1] == 1
    assert ids(search="_07.")[0] == ["tickets_07.x"]
    assert ids(search="%") == ids(search="tickets_.7") == ([], 0)
    assert ids(search="reviews")[0] == ["reviews_1"]
    assert viewer.get(f"{API}/runs").json()["states"] == {"success": 20, "failed": 5, "running": 1}
    assert viewer.get(f"{API}/runs").json()["dags"] == ["reviews", "tickets"]


@pytest.mark.parametrize("query", [{"limit": 1000}, {"offset": -1}, {"state": "nonsense"}, {"search": "x" * 300}])
def test_questions_without_bounds_are_refused(client_of, query) -> None:
    assert client_of("viewer").get(f"{API}/runs", params=query).status_code == 422


def test_a_run_that_is_not_there_is_said_so(client_of, add_run) -> None:
    add_run("tickets", "run_1")
    for run_id in ("run_1", "run_2"):
        answer = client_of("viewer").get(f"{API}/run", params={"dag_id": "tickets", "run_id": run_id})
        assert answer.status_code == 404
        assert "no such run" in answer.json()["detail"]


def test_a_thousand_shards_are_bounded_answers_and_are_read_once(
    client_of, add_run, build_run, pretend_sent, connection, monkeypatch
) -> None:
    run_id = add_run("catalogue", state="running")
    run, plan = build_run("catalogue", run_id, texts(2))
    ids = [f"{number:032x}" for number in range(1000)]
    shards = tuple(msgspec.structs.replace(plan.shards[0], shard_id=shard_id) for shard_id in ids)
    write_json(run.plan, msgspec.structs.replace(plan, rows=2000, requests=2000, shards=shards))
    pretend_sent(run, ids[:700], collected=True)
    pretend_sent(run, ids[700:990])
    viewer, requested = client_of("viewer"), {"dag_id": "catalogue", "run_id": run_id}
    detail = viewer.get(f"{API}/run", params=requested)
    assert len(detail.content) < 5_000
    figures = detail.json()["row"]["figures"]
    assert figures["stages"] == {"collected": 700, "sent": 290, "built": 10}
    assert (figures["requested"], figures["done"], figures["succeeded"]) == (2000, 1400, 1400)

    reads = []
    read = seen_files.read_json
    monkeypatch.setattr(seen_files, "read_json", lambda path, kind: (reads.append(path.name), read(path, kind))[1])
    pretend_sent(run, ids[990:])
    assert viewer.get(f"{API}/run", params=requested).json()["row"]["figures"]["stages"]["sent"] == 300
    assert reads == ["receipt.json"] * 10

    last = viewer.get(f"{API}/shards", params={**requested, "offset": 980, "limit": 100})
    assert (last.json()["total"], len(last.json()["shards"])) == (1000, 20)
    whole = viewer.get(f"{API}/shards", params={**requested, "limit": 100})
    assert len(whole.content) < 100_000
    batch_id = f"batch_{ids[500]}"
    found = viewer.get(f"{API}/shards", params={**requested, "search": batch_id}).json()
    assert (found["total"], found["shards"][0]["figures"]["index"]) == (1, 500)


def test_a_shard_leads_to_the_task_that_has_it_among_others(client_of, add_run, build_run, connection) -> None:
    names = ("submit_batch", "wait_for_batch")
    states = [(f"attempt_1.{name}", index, "success") for name in names for index in range(3)]
    # Left of an earlier build that had more shards, and of a shard that was refused.
    states += [("attempt_1.submit_batch", 3, "removed"), ("attempt_1.collect_results", 2, "failed")]
    run_id = add_run("tickets", state="running", tasks=states)
    build_run("tickets", run_id, texts(5), per_shard=1)
    shards = client_of("viewer").get(f"{API}/shards", params={"dag_id": "tickets", "run_id": run_id}).json()["shards"]
    found = [(shard["task"]["name"], shard["task"]["status"]["name"], shard["task"]["url"][-1]) for shard in shards]
    assert found == [
        *[(f"attempt_1.wait_for_batch [{index}]", "success", index) for index in "0011"],
        ("attempt_1.collect_results [2]", "failed", "2"),
    ]


def test_two_jobs_of_one_dag_are_two_rows_and_pages(client_of, add_run, build_run, connection) -> None:
    run_id = add_run("weekly", state="running", tasks=[("labels.build_requests", -1, "running")])
    for group in ("labels", "summaries"):
        build_run(f"weekly.{group}", run_id, texts(2), name="job", identity="weekly")
    viewer = client_of("viewer")
    rows = viewer.get(f"{API}/runs").json()["runs"]
    assert [(row["dag_id"], row["group"]) for row in rows] == [("weekly", "labels"), ("weekly", "summaries")]
    assert rows[0]["status"]["name"] == "building"
    requested = {"dag_id": "weekly", "run_id": run_id}
    assert viewer.get(f"{API}/run", params={**requested, "group": "labels"}).json()["row"]["group"] == "labels"
    detail = viewer.get(f"{API}/run", params=requested).json()
    assert (detail["row"]["group"], detail["groups"]) == ("labels", ["labels", "summaries"])
    assert viewer.get(f"{API}/run", params={**requested, "group": "others"}).status_code == 404


def test_the_key_is_in_no_answer(client_of, waiting_run, connection, live_at_once) -> None:
    run_id, _ = waiting_run
    words = f"Incorrect API key: {connection.api_key}"
    connection.faults([{"kind": "status", "endpoint": "GET /batches", "status": 401, "message": words, "count": None}])
    viewer, requested = client_of("viewer"), {"dag_id": "tickets", "run_id": run_id}
    answers = [
        viewer.get(f"{API}/{name}", params=requested)
        for name in ("runs", "run", "shards", "failed-rows", "answers") * 2
    ]
    assert [answer.status_code for answer in answers] == [200] * 10
    assert any("401" in answer.text for answer in answers), "the problem is told"
    assert not [answer for answer in answers if connection.api_key in answer.text]


def test_what_is_served_allows_no_script_of_others_and_no_frame_of_others(client_of) -> None:
    viewer = client_of("viewer")
    for path in ("/greennode/", "/greennode/run", "/greennode/static/runs.js", f"{API}/runs"):
        headers = viewer.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
        assert (policy["frame-ancestors"], policy["base-uri"], policy["form-action"]) == ("'self'", "'none'", "'none'")
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


def test_the_page_writes_text_and_never_markup_and_fetches_nothing_from_elsewhere() -> None:
    sources = {path.name: path.read_text() for path in STATIC.iterdir()}
    assert len(sources) > 8
    for name, text in sources.items():
        for unsafe in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "onerror",
            "http://",
            "https://",
        ):
            assert unsafe not in text, (name, unsafe)
        if name.endswith(".html"):
            assert not re.search(r"<script(?![^>]*\bsrc=)|\bon\w+=|\bstyle=", text), name


@pytest.mark.parametrize("name", ["runs", "shards"])
def test_a_column_of_a_list_is_named_once_and_for_head_and_cells_alike(name) -> None:
    script = (STATIC / f"{name}.js").read_text()
    columns = script.partition("const COLUMNS = [\n")[2].partition("\n];\n")[0]
    assert columns.count("name: ") == 8
    assert f'show(byId("{name}-head"), listHead(COLUMNS))' in script
    assert "listRow(COLUMNS, " in script
    assert not [path.name for path in STATIC.glob("*.html") if re.search(r"<th\b", path.read_text())]


def test_files_beside_the_page_are_not_served(client_of) -> None:
    viewer = client_of("viewer")
    for name in ("app.py", "..%2fapp.py", "../app.py", "nothing.js"):
        assert viewer.get(f"/greennode/static/{name}").status_code == 404


def test_hostile_keys_come_back_as_json_text(client_of, add_run, build_run, submit_all, collect_all, connection):
    hostile = "<img src=x onerror=alert(1)>"
    run_id = add_run("tickets", state="failed")
    connection.faults([{"kind": "line_error", "status": 400}])
    run, plan = build_run("tickets", run_id, [(hostile, hostile)])
    submit_all(run, plan)
    collect_all(run, plan)
    answer = client_of("viewer").get(f"{API}/failed-rows", params={"dag_id": "tickets", "run_id": run_id})
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.text)["rows"][0]["key"] == [hostile]
