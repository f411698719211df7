"""A whole job as one task: what it writes and hands on, and that it picks up wherever it was ended."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from greennode_airflow.operators import GreenNodeBatchOperator
from greennode_batch.errors import ConfigError
from greennode_batch.job import BatchJob, Budget, SqlSource, SqlTarget
from greennode_batch.state.job_result import RunResult
from greennode_emulator.server import RunningEmulator, running
from greennode_emulator.settings import Settings

OWN = """
from airflow.sdk import DAG
from greennode_airflow.form import form_params
from greennode_airflow.operators import GreenNodeBatchOperator
from greennode_batch.job import BatchJob, SqlSource, SqlTarget, Budget

JOB = BatchJob(
    name="labels",
    source=SqlSource(conn_id="warehouse", sql="SELECT id, body FROM texts WHERE id <= {{{{ params.most }}}}"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{{{ body }}}}",
    target=SqlTarget(conn_id="warehouse", table="labels"),
    max_shard_requests=3,
    canary=0,
    {more}
)

with DAG("own", schedule=None, params=form_params(JOB, {{"most": 8}})) as dag:
    GreenNodeBatchOperator(task_id="label", job=JOB)
"""


@pytest.fixture
def texts(warehouse: psycopg.Connection) -> psycopg.Connection:
    warehouse.execute("CREATE TABLE texts AS SELECT i AS id, 'text ' || i AS body FROM generate_series(1, 8) i")
    return warehouse


def own(more: str = "") -> str:
    return OWN.format(more=more)


def statuses(warehouse: psycopg.Connection) -> dict[str, int]:
    return dict(warehouse.execute("SELECT status, count(*) FROM labels GROUP BY status").fetchall())


def test_one_task_that_waits_in_the_triggerer_takes_a_table_to_a_table(
    run_file: Callable[..., dict[str, str]], texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    assert run_file(own()) == {"": "success", "label": "success"}
    assert statuses(texts) == {"succeeded": 8}
    ledger = emulator.ledger()
    assert len(ledger["batches"]) == 3
    assert ledger["requests_billed"] == 8
    # The next run asks only what is new.
    texts.execute("UPDATE texts SET body = 'another' WHERE id = 2")
    assert run_file(own())["label"] == "success"
    assert emulator.ledger()["requests_billed"] == 9


def test_it_hands_on_counts_and_where_the_answers_are(
    run_own: Callable[..., dict[str, list[Any]]], texts: psycopg.Connection
) -> None:
    (handed_on,) = run_own(own('prices={"google/gemma-4-31b-it": [1000, 1000]},'))["label"]
    assert handed_on["succeeded"] == 8
    result = RunResult.from_json(handed_on)
    assert (result.succeeded, result.failed, result.targets[0].table) == (8, 0, "labels")
    assert result.cost > 0
    (found,) = texts.execute(f"SELECT count(*) FROM labels WHERE {result.answered_rows}").fetchone()
    assert found == 8


def test_what_failed_is_asked_again_in_the_same_task(
    run_own: Callable[..., dict[str, list[Any]]], texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    emulator.faults([{"kind": "line_error", "status": 500, "count": 2, "batches": 1}])
    (handed_on,) = run_own(own())["label"]
    assert statuses(texts) == {"succeeded": 8}
    assert [attempt["requests"] for attempt in handed_on["report"]["attempts"]] == [8, 2]


def test_too_many_failed_rows_fail_the_task_which_has_written_them_and_its_result(
    run_own: Callable[..., dict[str, list[Any]]], texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    emulator.faults([{"kind": "line_error", "status": 400, "count": 3, "batches": 3}])
    with pytest.raises(AirflowFailException, match="ended without an answer"):
        run_own(own())
    assert sum(statuses(texts).values()) == 8


def test_a_shard_that_is_refused_for_good_does_not_keep_the_others_from_their_answers(
    run_own: Callable[..., dict[str, list[Any]]], texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    run_own(own(), conf={"most": 6})
    texts.execute("DELETE FROM labels")
    emulator.faults([{"endpoint": "POST /batches", "kind": "status", "status": 400, "count": None}])
    with pytest.raises(AirflowFailException, match="No batch was created for this shard"):
        run_own(own())
    assert statuses(texts) == {"succeeded": 6}
    # Cleared, once that is put right, it sends that shard alone.
    emulator.disarm()
    run_own(own())
    assert statuses(texts) == {"succeeded": 8}
    assert emulator.ledger()["requests_billed"] == 8


def test_ended_while_it_waits_it_picks_up_and_pays_nothing_twice(
    run_own: Callable[..., dict[str, list[Any]]], texts: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    deferred = []

    def stop(self: Any, *, trigger: Any, method_name: str, **_: Any) -> None:
        deferred.append((trigger, method_name))
        raise KeyboardInterrupt

    with running(Settings(batch_seconds=1.5)) as slow, monkeypatch.context() as patch:
        connection = {"conn_type": "greennode", "host": slow.base_url, "password": slow.api_key}
        monkeypatch.setenv("AIRFLOW_CONN_GREENNODE_DEFAULT", json.dumps(connection))
        patch.setattr(GreenNodeBatchOperator, "defer", stop)
        with pytest.raises(KeyboardInterrupt):
            run_own(own())
        patch.undo()
        run_own(own())
        ledger = slow.ledger()
    ((trigger, method_name),) = deferred
    assert len(trigger.batch_ids) == 3
    assert (trigger.when_killed, trigger.succeeds_on, method_name) == ("cancel", [], "resume")
    assert (len(ledger["batches"]), ledger["requests_billed"]) == (3, 8)
    assert statuses(texts) == {"succeeded": 8}


KILLS = [
    "greennode_batch.api.client.GreenNodeClient.upload_file",
    "greennode_batch.api.client.GreenNodeClient.create_batch",
    "greennode_batch.api.client.GreenNodeClient.get_batch",
    "greennode_batch.api.client.GreenNodeClient.delete_file",
    "greennode_batch.collect.collect.collect_shard",
    "greennode_airflow.operators.whole_job.join_and_write",
    "greennode_airflow.operators.whole_job.make_report",
]


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("place", KILLS, ids=lambda place: place.rpartition(".")[2])
def test_killed_right_behind_any_step_it_is_finished_by_the_next_try(
    run_own: Callable[..., dict[str, list[Any]]],
    texts: psycopg.Connection,
    emulator: RunningEmulator,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    nth: int,
) -> None:
    real, calls = resolve_name(place), []

    def killed(*given: Any, **named: Any) -> Any:
        done = real(*given, **named)
        calls.append(place)
        if len(calls) == nth:
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patch:
        patch.setattr(place, killed)
        with contextlib.suppress(KeyboardInterrupt):
            run_own(own())
    assert calls
    (handed_on,) = run_own(own())["label"]
    assert statuses(texts) == {"succeeded": 8}
    assert emulator.ledger()["requests_billed"] == 8
    assert len(emulator.ledger()["batches"]) == 3
    assert handed_on["report"]["balanced"]


def test_a_dry_run_sends_nothing(
    run_own: Callable[..., dict[str, list[Any]]], texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    with pytest.raises(AirflowSkipException, match="a dry run"):
        run_own(own(), conf={"dry_run": True})
    assert emulator.ledger()["requests_billed"] == 0


def test_where_the_server_takes_one_batch_at_a_time_the_others_wait_their_turn(
    run_own: Callable[..., dict[str, list[Any]]],
    texts: psycopg.Connection,
    emulator: RunningEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = json.loads(os.environ["AIRFLOW_CONN_GREENNODE_DEFAULT"])
    connection["extra"] = {"max_batches_in_flight": 1}
    monkeypatch.setenv("AIRFLOW_CONN_GREENNODE_DEFAULT", json.dumps(connection))
    run_own(own())
    assert statuses(texts) == {"succeeded": 8}


def test_a_budget_that_asks_a_person_is_refused_when_the_file_is_read() -> None:
    job = BatchJob(
        name="labels",
        source=SqlSource(conn_id="warehouse", sql="SELECT 1 AS id"),
        key="id",
        model="m",
        prompt="x",
        target=SqlTarget(conn_id="warehouse", table="labels"),
        budget=Budget(approve_over=1),
    )
    with pytest.raises(ConfigError, match="approve_over asks a person"):
        GreenNodeBatchOperator(task_id="label", job=job)


MAPPED = """
from airflow.sdk import DAG
from greennode_airflow.operators import GreenNodeBatchOperator
from greennode_batch.job import BatchJob, SqlSource, SqlTarget

def job(most):
    return BatchJob(
        name="labels",
        source=SqlSource(conn_id="warehouse", sql=f"SELECT id, body FROM texts WHERE id % 2 = {most}"),
        key="id",
        model="google/gemma-4-31b-it",
        prompt="{{ body }}",
        target=SqlTarget(conn_id="warehouse", table="labels"),
        orphaned_rows="remove",
        canary=0,
    )

with DAG("own", schedule=None):
    GreenNodeBatchOperator.partial(task_id="label").expand(job=[job(0), job(1)])
"""


def test_each_instance_of_a_mapped_task_is_a_run_by_itself_and_leaves_the_others_rows(
    run_file: Callable[..., dict[str, str]], texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    for _ in range(2):
        assert run_file(MAPPED)["label"] == "success"
        assert statuses(texts) == {"succeeded": 8}
    assert emulator.ledger()["requests_billed"] == 8
    owners = texts.execute("SELECT DISTINCT greennode_job FROM labels ORDER BY 1").fetchall()
    assert [name for (name,) in owners] == ["label.0/labels", "label.1/labels"]
