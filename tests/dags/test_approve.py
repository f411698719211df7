"""A run whose estimate is over the budget's approve_over waits for a person, who is played by the tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from airflow.models.hitl import HITLDetail, HITLUser
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import handle_event_submit
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.triggers import hitl
from airflow.sdk import timezone
from airflow.sdk.api.datamodels._generated import HITLDetailResponse
from airflow.triggers.base import TriggerEvent
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select
from sqlalchemy.orm import Session

from greennode_emulator.server import RunningEmulator

RunFile = Callable[..., dict[str, str]]

JOB = """
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.budget import Budget
from greennode_batch.job.targets import SqlTarget
from greennode_batch.job.sources import SqlSource

JOB = BatchJob(
    name="own",
    source=SqlSource(conn_id="warehouse", sql="SELECT i AS id, 'row ' || i AS body FROM generate_series(1, 5) i"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{ body }}",
    params={"max_tokens": 100},
    prices={"google/gemma-4-31b-it": [1_000_000, 2_000_000]},
    budget=Budget(approve_over=APPROVE_OVER),
    target=SqlTarget(conn_id="warehouse", table="answers"),
)

dag = batch_table(JOB)
"""
OVER, UNDER = (JOB.replace("APPROVE_OVER", number) for number in ("1", "1_000_000"))


@pytest.fixture
def person(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], list[tuple[str, str]]]]:
    """Answers what is asked, as Airflow's page does: `person("Approve")`; what they were shown, when it is over."""
    ended = threading.Event()
    shown: list[tuple[str, str]] = []

    def respond(session: Session, task_id: UUID, option: str) -> HITLDetail:
        detail = session.get(HITLDetail, task_id)
        assert detail is not None
        detail.responded_by = HITLUser(id="7", name="ann")
        detail.responded_at, detail.chosen_options, detail.params_input = timezone.utcnow(), [option], {}
        shown.append((detail.subject, detail.body))
        return detail

    def answer(option: str) -> None:
        while not ended.wait(0.1):
            with create_session() as session:
                parked = TaskInstance.state == TaskInstanceState.AWAITING_INPUT
                for task in session.scalars(select(TaskInstance).where(parked)):
                    event = TriggerEvent(respond(session, task.id, option).as_resume_event_payload())
                    handle_event_submit(event, task_instance=task, session=session)

    def answer_trigger(ti_id: UUID, option: str) -> HITLDetailResponse:
        with create_session() as session:
            return HITLDetailResponse.model_validate(respond(session, ti_id, option), from_attributes=True)

    threads: list[threading.Thread] = []

    def start(option: str) -> list[tuple[str, str]]:
        if hasattr(TaskInstanceState, "AWAITING_INPUT"):
            threads.append(threading.Thread(target=answer, args=(option,)))
            threads[0].start()
        else:
            # Before 3.3 the task's trigger asks for the answer, of a supervisor that dag.test() does not have.
            ask = partial(answer_trigger, option=option)
            monkeypatch.setattr(hitl, "get_hitl_detail_content_detail", ask)
        return shown

    yield start
    ended.set()
    for thread in threads:
        thread.join()


def test_approved_it_is_sent_and_what_the_person_saw_is_its_cost_and_prompts(
    run_file: RunFile, warehouse: psycopg.Connection, person: Callable[[str], list[tuple[str, str]]], deployment: Path
) -> None:
    shown = person("Approve")
    ended = run_file(OVER)
    assert (ended[""], ended["approve_spend"]) == ("success", "success")
    assert warehouse.execute("SELECT count(*) FROM answers WHERE status = 'succeeded'").fetchone() == (5,)
    ((subject, body),) = shown
    assert subject == "May job own spend this?"
    assert "| requests | 5 |" in body
    assert "[user]\nrow 1\n```" in body
    (note,) = deployment.rglob("approval.json")
    assert json.loads(note.read_bytes())["by"] == "ann"


def test_rejected_it_fails_for_good_nothing_is_sent_and_the_report_says_why(
    run_file: RunFile,
    person: Callable[[str], list[tuple[str, str]]],
    emulator: RunningEmulator,
    capfd: pytest.CaptureFixture[str],
) -> None:
    person("Reject")
    ended = run_file(OVER)
    assert [ended[name] for name in ("", "build_requests", "approve_spend", "report")] == [
        "failed",
        "success",
        "failed",
        "failed",
    ]
    assert emulator.ledger(summary=True)["files_uploaded"] == 0
    assert capfd.readouterr().out.count("ann rejected the estimated ") >= 2


def test_under_that_sum_nobody_is_asked(
    run_own: Callable[..., dict[str, list[Any]]], emulator: RunningEmulator
) -> None:
    results = run_own(UNDER)
    assert results["approve_spend"] == results["build_requests"]
    assert emulator.ledger(summary=True)["batches_created"] == 1


def test_a_run_that_is_triggered_live_is_approved_by_its_live_price(
    run_own: Callable[..., dict[str, list[Any]]], deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HITLOperator, "execute", lambda *_: "asked a person")
    built = run_own(UNDER, only={"build_requests"})
    (plan,) = deployment.glob("own/*/plan*.json")
    estimate = json.loads(plan.read_text())["estimate"]
    assert estimate["cost"] < estimate["live_cost"]
    text = JOB.replace("APPROVE_OVER", str((estimate["cost"] + estimate["live_cost"]) / 2))
    assert run_own(text, only={"approve_spend"}, results=built)["approve_spend"] == built["build_requests"]
    asked = run_own(text, only={"approve_spend"}, results=built, conf={"mode": "live"})
    assert asked["approve_spend"] == ["asked a person"]
