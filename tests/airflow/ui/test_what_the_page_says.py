"""What the page says of runs as Airflow, staging and the server have them together."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.configuration import conf
from airflow.models.log import Log

from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.ui.known_runs import step_of
from greennode_batch.staging.folders import run_folder, write_json
from greennode_batch.state.approval_record import Approval
from greennode_batch.state.no_credit import NoCredit
from greennode_batch.state.run_identity import note_run

API = "/greennode/api"
STUCK = {"kind": "stuck", "status": "in_progress", "seconds": None, "fraction": 0.5, "count": None}
WAITING = [("attempt_1.wait_for_batch", 0, "deferred"), ("attempt_1.submit_batch", 0, "success")]


def texts(count):
    return [(f"t{number}", f"text {number}") for number in range(count)]


@pytest.fixture
def poll_batch(client_of):
    """What the page says of the run of `tickets` with this id."""

    def poll(run_id, *, role="user", what="run", **requested):
        answer = client_of(role).get(f"{API}/{what}", params={"dag_id": "tickets", "run_id": run_id, **requested})
        assert answer.status_code == 200, answer.text
        return answer.json()

    return poll


@pytest.mark.parametrize("noted_in", ["the trigger form", "staging"])
def test_a_dry_run_is_one_before_and_after(noted_in, poll_batch, add_run, build_run, connection) -> None:
    conf = {"dry_run": True} if noted_in == "the trigger form" else {}
    run_id = add_run("tickets", conf=conf, tasks=[("build_requests", -1, "success"), ("report", -1, "skipped")])
    run, _ = build_run("tickets", run_id, texts(20), per_shard=10)
    if not conf:
        note_run(run, dag_id="tickets", run_id=run_id, is_dry_run=True)
    detail = poll_batch(run_id)
    row = detail["row"]
    assert (row["status"]["name"], row["has_sent"], detail["cancellable"]) == ("dry-run", False, 0)
    assert detail["batches"] == {"not sent": 2}
    assert row["links"][0]["url"].endswith("/tasks/build_requests")
    assert {shard["status"]["name"] for shard in poll_batch(run_id, what="shards")["shards"]} == {"dry-run"}


@pytest.mark.parametrize("noted_in", ["the trigger form", "staging"])
def test_a_try_is_one_and_links_its_answers(noted_in, poll_batch, add_run, build_run, connection) -> None:
    conf = {"mode": "try"} if noted_in == "the trigger form" else {}
    run_id = add_run("tickets", conf=conf, tasks=[("build_requests", -1, "success"), ("report", -1, "skipped")])
    run, _ = build_run("tickets", run_id, texts(3))
    note_run(run, dag_id="tickets", run_id=run_id, is_try=not conf or None)
    (run.path / "try.html").write_text("A try of 3 rows")
    detail = poll_batch(run_id)
    assert (detail["row"]["status"]["name"], detail["row"]["is_try"]) == ("tried", True)
    (shard,) = poll_batch(run_id, what="shards")["shards"]
    assert (shard["task"]["name"], shard["task"]["status"]["name"]) == ("build_requests", "success")
    (report,) = detail["reports"]
    assert (report["words"], report["url"].endswith("name=try.html")) == ("Try", True)


@pytest.mark.parametrize("state", ["awaiting_input", "deferred"])
def test_a_run_that_waits_for_a_person_leads_to_required_actions(
    state, poll_batch, add_run, build_run, connection
) -> None:
    run_id = add_run("tickets", state="running", tasks=[("approve_spend", -1, state)])
    run, _ = build_run("tickets", run_id, texts(3))
    write_json(run.approval, Approval(1200, "VND"))
    detail = poll_batch(run_id)
    assert detail["row"]["status"]["name"] == "awaiting-approval"
    (link,) = detail["row"]["links"]
    assert link["url"].endswith("/tasks/approve_spend/required_actions")
    assert detail["batches"] == {"awaiting approval": 1}


def test_a_run_that_was_rejected_says_by_whom(poll_batch, add_run, build_run, connection) -> None:
    tasks = [("approve_spend", -1, "failed", ("AirflowFailException", "ann rejected it")), ("report", -1, "failed")]
    run_id = add_run("tickets", state="failed", tasks=tasks)
    run, _ = build_run("tickets", run_id, texts(3))
    write_json(run.approval, Approval(1200, "VND", approved=False, by="ann", at=time.time()))
    detail = poll_batch(run_id)
    assert detail["row"]["status"]["words"] == "ann rejected about 1,200 VND, so no batch was sent."
    assert detail["batches"] == {"not sent": 1}
    assert detail["notes"][0].startswith("ann rejected")


@pytest.mark.parametrize("how", ["patch_dag_run", "bulk_dag_runs"])
def test_a_run_that_was_marked_failed_offers_no_cancel_once_its_batches_are_over(
    how, poll_batch, add_run, build_run, submit_all, connection, note_act, live_at_once, client_of
) -> None:
    run_id = add_run("tickets", state="failed", tasks=[("attempt_1.wait_for_batch", 0, "failed")])
    connection.faults([STUCK])
    submit_all(*build_run("tickets", run_id, texts(20), per_shard=10))
    if how == "patch_dag_run":
        note_act("tickets", run_id, how, state="failed", method="PATCH")
    else:
        runs = [{"dag_run_id": run_id, "state": "failed"}]
        note_act("tickets", None, how, actions=[{"action": "update", "entities": runs}])
    poll_batch(run_id)
    detail = poll_batch(run_id)
    assert detail["row"]["status"]["words"] == "ann marked the run as failed."
    assert (detail["cancellable"], detail["batches"]) == (2, {"at GreenNode": 2}), "nobody has ended them"
    requested = {"dag_id": "tickets", "run_id": run_id}
    assert client_of("user").post(f"{API}/cancel", params=requested, json={}).json()["requested"] == 2
    poll_batch(run_id)
    detail = poll_batch(run_id)
    assert detail["cancellable"] == 0
    assert set(detail["batches"]) <= {"cancelled", "being cancelled"}
    assert any("user cancelled on this page" in note for note in detail["notes"])
    assert all(" by user" in shard["status"]["words"] for shard in poll_batch(run_id, what="shards")["shards"])


def test_a_mark_of_before_a_run_was_cleared_is_none_of_today(
    poll_batch, add_run, build_run, connection, note_act, session
) -> None:
    run_id = add_run(
        "tickets", state="failed", age=-60, tasks=[("report", -1, "failed", ("ConfigError", "no table x"))]
    )
    build_run("tickets", run_id, texts(3))
    note_act("tickets", run_id, "patch_dag_run", state="failed")
    assert poll_batch(run_id)["row"]["status"]["words"] == "report failed: no table x."


@pytest.mark.parametrize(
    ("event", "said", "sentence"),
    [
        ("patch_task_instance", {"new_state": "failed", "map_index": "1"}, "Failed: ann marked it as failed."),
        ("heartbeat timeout", "Task did not emit heartbeat within time limit", "Task did not emit heartbeat"),
    ],
)
def test_a_task_that_could_not_note_why_it_failed_has_a_sentence(
    event, said, sentence, poll_batch, add_run, build_run, connection, note_act, session
) -> None:
    run_id = add_run("tickets", state="failed", tasks=[("attempt_1.submit_batch", 1, "failed")])
    build_run("tickets", run_id, texts(3))
    if isinstance(said, dict):
        note_act("tickets", run_id, event, task_id="attempt_1.submit_batch", **said)
    else:
        entry = Log(event=event, extra=said, dag_id="tickets", run_id=run_id)
        entry.task_id, entry.map_index = "attempt_1.submit_batch", 1
        session.add(entry)
        session.commit()
    (task,) = poll_batch(run_id)["tasks"]
    assert sentence in task["status"]["words"]


@pytest.fixture
def write_log(session):
    """Write the log of a task's first try, as Airflow's own task runner does."""

    def write(run_id, task_id, *errors):
        folder = Path(
            conf.get("logging", "base_log_folder"), "dag_id=tickets", f"run_id={run_id}", f"task_id={task_id}"
        )
        folder.mkdir(parents=True)
        lines = [
            {
                "timestamp": "2026-01-01T00:00:00Z",
                "event": "Task failed with exception",
                "level": "error",
                "error_detail": [{"exc_type": kind, "exc_value": words, "frames": []}],
            }
            for kind, words in errors
        ]
        started = {"timestamp": "2026-01-01T00:00:00Z", "event": "Started", "level": "info"}
        (folder / "attempt=1.log").write_text("\n".join(map(json.dumps, [started, *lines])))

    return write


def test_a_task_of_somebody_elses_has_its_sentence_by_its_log(
    poll_batch, add_run, build_run, connection, write_log
) -> None:
    run_id = add_run("tickets", state="failed", tasks=[("send_mail", -1, "failed"), ("report", -1, "success")])
    build_run("tickets", run_id, texts(1))
    write_log(run_id, "send_mail", ("OSError", "first"), ("SMTPError", "the mail server is away"))
    detail = poll_batch(run_id)
    words = detail["row"]["status"]["words"]
    assert words == "send_mail, which does not belong to this job, failed: the mail server is away."
    assert detail["tasks"][0]["status"]["words"] == "Failed: the mail server is away."


def test_who_may_not_read_logs_is_shown_none_of_them(
    poll_batch, add_run, build_run, connection, write_log, monkeypatch
) -> None:
    allowed = SimpleAuthManager.is_authorized_dag

    def is_authorized(self, *, method, user, access_entity=None, details=None):
        may = access_entity is not DagAccessEntity.TASK_LOGS
        return may and allowed(self, method=method, user=user, access_entity=access_entity, details=details)

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", is_authorized)
    run_id = add_run("tickets", state="failed", tasks=[("send_mail", -1, "failed")])
    build_run("tickets", run_id, texts(1))
    write_log(run_id, "send_mail", ("SMTPError", "the mail server is away"))
    assert "the task's log may have one" in poll_batch(run_id)["row"]["status"]["words"]


@pytest.mark.parametrize(
    ("task_id", "kind", "name"),
    [
        ("build_requests", "ConfigError", "build-failed"),
        ("build_requests", "BudgetError", "over-budget"),
        ("attempt_1.submit_batch", "CreditError", "no-credit"),
        ("attempt_2.collect_results", "ConfigError", "batches-failed"),
        ("join_results", "", "write-failed"),
        ("report", "FailedRowsError", "too-many-failures"),
        ("build_retry_1", "OSError", "batches-failed"),
        ("send_mail", "", "other-task-failed"),
    ],
)
def test_a_failed_run_says_its_sentence_in_the_list_as_well(
    task_id, kind, name, client_of, add_run, build_run, connection
) -> None:
    later = [("report", -1, "failed", ("AirflowFailException", "later"))] if task_id != "report" else []
    run_id = add_run("tickets", state="failed", tasks=[(task_id, -1, "failed", (kind, "<b>The reason")), *later])
    build_run("tickets", run_id, texts(3))
    (row,) = client_of("viewer").get(f"{API}/runs").json()["runs"]
    if name == "other-task-failed":  # a step of the job that failed as well comes first
        assert row["status"]["name"] == "report-failed"
        return
    assert row["status"]["name"] == name
    assert "The reason" in row["status"]["words"] or name == "too-many-failures"


def test_a_run_without_credit_says_so_by_its_note(poll_batch, add_run, build_run, connection) -> None:
    run_id = add_run("tickets", state="failed", tasks=[("attempt_1.submit_batch", 0, "failed")])
    run, plan = build_run("tickets", run_id, texts(3))
    write_json(run.path / "no_credit.json", NoCredit(plan.shards[0].shard_id, "402: top up first"))
    assert "402: top up first" in poll_batch(run_id)["row"]["status"]["words"]


def test_the_very_first_run_of_a_dag_is_there_though_its_build_failed_at_once(
    client_of, add_run, staging, connection
) -> None:
    why = ("AuthError", "401 Incorrect API key")
    run_id = add_run("tickets", state="failed", tasks=[("build_requests", -1, "failed", why)])
    note_run(
        run_folder(staging, "tickets", run_id), dag_id="tickets", run_id=run_id, conn_id="greennode_default", group=""
    )
    (row,) = client_of("viewer").get(f"{API}/runs").json()["runs"]
    assert row["status"]["words"] == "build_requests failed: 401 Incorrect API key."


def test_a_paused_dag_is_why_its_run_does_not_start(poll_batch, add_run, build_run, connection) -> None:
    run_id = add_run("tickets", state="queued", is_paused=True)
    build_run("tickets", run_id, texts(3))
    assert poll_batch(run_id)["row"]["status"]["name"] == "paused"


def test_what_the_server_said_stays_while_it_is_down(
    poll_batch, add_run, build_run, submit_all, connection, client_of, live_at_once, monkeypatch
) -> None:
    run_id = add_run("tickets", state="running", tasks=WAITING)
    connection.faults([STUCK])
    (batch_id,) = submit_all(*build_run("tickets", run_id, texts(20), per_shard=20))
    with GreenNodeHook().get_conn() as server:
        while server.get_batch(batch_id).counts.completed < 10:
            pass
    poll_batch(run_id)
    client = client_of("user")
    requested = {"dag_id": "tickets", "run_id": run_id}
    before = client.get(f"{API}/run", params=requested).json()
    assert before["row"]["figures"]["done"] == 10
    down = ("GET /batches", "POST /batches/{id}/cancel")
    connection.faults([{"kind": "status", "endpoint": one, "status": 503, "count": None} for one in down])
    assert client.post(f"{API}/cancel", params=requested, json={}).json()["requested"] == 0
    for _ in range(2):
        after = client.get(f"{API}/run", params=requested).json()
    assert after["row"]["figures"]["done"] == 10
    assert "503" in after["live_problem"]
    assert after["row"]["status"]["name"] == "waiting-unreachable"
    assert after["heard_at"] is not None


def test_answers_are_shown_beside_rows_that_failed(
    poll_batch, add_run, build_run, submit_all, collect_all, connection
) -> None:
    run_id = add_run("tickets")
    connection.faults([{"kind": "line_error", "status": 400, "count": 3}])
    built = build_run("tickets", run_id, texts(20))
    submit_all(*built)
    collect_all(*built)
    sample = poll_batch(run_id, what="answers")
    assert (sample["key"], sample["columns"], len(sample["rows"])) == (["ticket"], ["answer"], 5)
    failed = {row["key"][0] for row in poll_batch(run_id, what="failed-rows")["rows"]}
    assert len(failed) == 3
    assert not failed & {row["key"][0] for row in sample["rows"]}
    assert all(row["values"][0] for row in sample["rows"])


@pytest.mark.parametrize("group", ["", "labels"])
def test_reports_are_found_by_the_tasks_of_a_run_and_served_without_script(
    group, client_of, add_run, build_run, staging, connection
) -> None:
    task = f"{group}.page" if group else "page"
    run_id = add_run("tickets", tasks=[(task, -1, "success"), ("attempt_1.submit_batch", 0, "success")])
    build_run("tickets", run_id, texts(1))
    folder = run_folder(staging, "tickets", run_id, group=group or None)
    note_run(folder, dag_id="tickets", run_id=run_id, group=group)
    (folder.path / "page.html").write_bytes(b"<style>b{color:red}</style><script>alert(1)</script>")
    requested = {"dag_id": "tickets", "run_id": run_id}
    (link,) = client_of("viewer").get(f"{API}/run", params=requested).json()["reports"]
    answer = client_of("viewer").get(link["url"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["sandbox"], policy["frame-ancestors"]) == ("'none'", "", "'self'")
    assert "script-src" not in policy
    assert client_of(None).get(link["url"]).status_code == 401


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "report.json"},
        {"name": "../page.html"},
        {"name": "plan.1.json"},
        {"run_id": "../run_1"},
        {"run_id": "run_2"},
        {"group": "../tickets"},
        {"group": "x"},
    ],
)
def test_a_report_is_read_from_the_folder_of_its_run_alone(changed, client_of, add_run, build_run, connection) -> None:
    add_run("tickets", "run_1")
    run, _ = build_run("tickets", "run_1", texts(1))
    (run.path / "page.html").write_bytes(b"hello")
    requested = {"dag_id": "tickets", "run_id": "run_1", "name": "page.html"}
    viewer = client_of("viewer")
    assert viewer.get("/greennode/report", params=requested).text == "hello"
    assert viewer.get("/greennode/report", params={**requested, **changed}).status_code == 404


def test_a_report_that_is_a_link_to_somewhere_else_is_none(client_of, add_run, build_run, connection, tmp_path) -> None:
    add_run("tickets", "run_1")
    run, _ = build_run("tickets", "run_1", texts(1))
    (tmp_path / "secret").write_text("secret")
    Path(run.path.path, "page.html").symlink_to(tmp_path / "secret")
    requested = {"dag_id": "tickets", "run_id": "run_1", "name": "page.html"}
    assert client_of("viewer").get("/greennode/report", params=requested).status_code == 404


def test_a_folder_whose_run_is_another_dags_shows_nothing(client_of, add_run, build_run, connection) -> None:
    add_run("tickets", "run_1")
    run, _ = build_run("tickets.labels", "run_1", texts(1), identity="salaries")
    (run.path / "page.html").write_bytes(b"salaries")
    requested = {"dag_id": "tickets", "run_id": "run_1", "group": "labels", "name": "page.html"}
    assert client_of("viewer").get("/greennode/report", params=requested).status_code == 404


@pytest.mark.parametrize(
    ("task_id", "group", "step"),
    [
        ("build_requests", "", "build_requests"),
        ("attempt_12.submit_batch", "", "submit_batch"),
        ("labels.build_retry_1", "labels", "build_retry"),
        ("labels.build_requests", "", ""),
        ("my_report", "", ""),
        ("report_2", "", ""),
        ("labels2.report", "labels", ""),
    ],
)
def test_a_step_is_known_by_the_tasks_own_name(task_id, group, step) -> None:
    assert step_of(task_id, group) == step


def test_batches_are_filtered_by_what_is_said_of_them(poll_batch, add_run, build_run, pretend_sent, connection) -> None:
    run_id = add_run("tickets", state="running")
    run, plan = build_run("tickets", run_id, texts(3), per_shard=1)
    pretend_sent(run, [plan.shards[0].shard_id], collected=True)
    assert poll_batch(run_id)["batches"] == {"collected": 1, "not sent yet": 2}
    found = poll_batch(run_id, what="shards", state="collected")
    assert [shard["figures"]["shard_id"] for shard in found["shards"]] == [plan.shards[0].shard_id]


def test_a_batch_that_was_cancelled_and_collected_says_so(
    poll_batch, add_run, build_run, submit_all, collect_all, connection
) -> None:
    run_id = add_run("tickets", state="running")
    connection.faults([{"kind": "cancelled"}])
    built = build_run("tickets", run_id, texts(10))
    submit_all(*built)
    collect_all(*built)
    (shard,) = poll_batch(run_id, what="shards")["shards"]
    assert shard["status"]["name"] == "collected-cancelled"
