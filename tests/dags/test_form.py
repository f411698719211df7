"""What the trigger form chooses for one run: a part of the rows, by values that the database's driver binds."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from greennode_batch.errors import AuthError
from greennode_emulator.server import RunningEmulator

RunSteps = Callable[..., dict[str, list[Any]]]

JOB = """
from airflow.sdk import Param
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.budget import Budget
from greennode_batch.job.targets import SqlTarget
from greennode_batch.job.sources import SqlSource

JOB = BatchJob(
    name="own",
    source=SqlSource(
        conn_id="warehouse",
        sql='''
            SELECT id, body FROM texts
            WHERE (%(owner)s::text IS NULL OR owner = %(owner)s) AND id >= %(first)s AND body NOT LIKE '%%nothing'
            ORDER BY id
        ''',
        parameters={{"owner": "{{{{ params.owner }}}}", "first": "{{{{ params.first }}}}"}},
    ),
    key="id",
    model={model},
    prompt="{{{{ body }}}}",
    target=SqlTarget(conn_id="warehouse", table="answers"),
    orphaned_rows="remove",
    {more}
)

dag = batch_table(
    JOB,
    strict_conf={strict_conf},
    params={{"owner": Param(None, type=["null", "string"]), "first": Param(1, type="integer", minimum=1)}},
)
"""
ONE = "google/gemma-4-31b-it"
PRICED = f"prices={{{ONE!r}: [1_000_000, 1_000_000]}}, params={{'max_tokens': 50}}, "


def text_of(model: object = ONE, more: str = "", *, strict_conf: bool = True) -> str:
    return JOB.format(model=repr(model), more=more, strict_conf=strict_conf)


@pytest.fixture
def texts(warehouse: psycopg.Connection) -> psycopg.Connection:
    """Ten rows of two owners, of whom one has a name that no query should have in its text."""
    warehouse.execute(
        "CREATE TABLE texts AS SELECT i AS id, 'row ' || i AS body, "
        "CASE WHEN i % 2 = 0 THEN 'o''neill' ELSE '7' END AS owner FROM generate_series(1, 10) i"
    )
    return warehouse


def answered(warehouse: psycopg.Connection) -> list[int]:
    return [number for (number,) in warehouse.execute("SELECT id FROM answers ORDER BY id").fetchall()]


def test_a_run_of_some_rows_asks_these_and_the_next_ones_the_rest(
    run_own: RunSteps, texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    run_own(text_of(), run_id="first", conf={"limit": 3})
    assert answered(texts) == [1, 2, 3]
    texts.execute("DELETE FROM texts WHERE id = 2")
    # Those that are answered are passed over. Neither row 2, which is gone, nor those that are not read are taken for
    # rows that left the source.
    run_own(text_of(), run_id="second", conf={"limit": 1})
    assert answered(texts) == [1, 2, 3, 4]
    run_own(text_of(), run_id="third", conf={"owner": "7", "first": 4})
    assert answered(texts) == [1, 2, 3, 4, 5, 7, 9]
    run_own(text_of(), run_id="last")
    assert answered(texts) == [1, 3, 4, 5, 6, 7, 8, 9, 10]
    requests = emulator.ledger()["requests"]
    assert (len(requests), set(requests.values())) == (10, {1})


def test_what_is_typed_into_the_form_is_a_value_and_no_part_of_the_query(
    run_own: RunSteps, texts: psycopg.Connection, emulator: RunningEmulator, capfd: pytest.CaptureFixture[str]
) -> None:
    run_own(text_of(), only={"build_requests"}, conf={"owner": "x' OR 'x' = 'x", "dry_run": True})
    assert "Built 0 rows" in capfd.readouterr().out
    assert emulator.ledger(summary=True)["chat_requests_billed"] == 0


def test_a_job_with_partitions_cuts_the_rows_of_all_parts(
    run_own: RunSteps, texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    run_own(text_of(more="partitions=2,"), conf={"limit": 4, "owner": "o'neill"})
    assert len(answered(texts)) == 4
    assert set(answered(texts)) <= {2, 4, 6, 8, 10}
    assert emulator.ledger(summary=True)["requests_billed"] == 4


def test_some_of_a_jobs_models_are_asked(
    run_own: RunSteps, texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    models = [ONE, "openai/gpt-oss-120b", "qwen/qwen3.6-flash"]
    conf = {"models": models[1:], "limit": 2}
    run_own(text_of(models), conf=conf)
    rows = texts.execute("SELECT id, model FROM answers ORDER BY id, model").fetchall()
    assert rows == [(number, model) for number in (1, 2) for model in models[1:]]
    assert emulator.ledger(summary=True)["requests_billed"] == 4


def test_a_limit_of_a_job_with_partitions_passes_over_what_is_answered(
    run_own: RunSteps, texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    for number in range(3):
        run_own(text_of(more="partitions=2,"), conf={"limit": 4}, run_id=f"run {number}")
    assert answered(texts) == list(range(1, 11))
    assert emulator.ledger(summary=True)["requests_billed"] == 10


@pytest.mark.parametrize("partitions", [1, 2])
def test_a_misspelt_field_fails_the_run_before_anything_is_sent_or_written(
    run_own: RunSteps, texts: psycopg.Connection, emulator: RunningEmulator, partitions: int
) -> None:
    with pytest.raises(AirflowFailException, match=r"'limt' \(did you mean 'limit'\?\).*Nothing was sent"):
        run_own(text_of(more=f"partitions={partitions},"), conf={"limt": 3})
    assert emulator.ledger(summary=True)["calls"] == {}, "not even for its models"
    assert texts.execute("SELECT to_regclass('answers')").fetchone() == (None,)


def test_where_a_dag_takes_any_conf_a_misspelt_field_alone_fails_the_run(
    run_own: RunSteps, texts: psycopg.Connection
) -> None:
    lax = text_of(strict_conf=False)
    with pytest.raises(AirflowFailException, match=r"'dryrun' \(did you mean 'dry_run'\?\)"):
        run_own(lax, conf={"dryrun": True})
    run_own(lax, conf={"why": "a test", "limit": 1})
    assert answered(texts) == [1]


@pytest.mark.parametrize("partitions", [1, 2])
def test_a_dry_run_on_an_answered_table_shows_what_a_row_would_ask(
    run_own: RunSteps, texts: psycopg.Connection, capfd: pytest.CaptureFixture[str], partitions: int
) -> None:
    text = text_of(more=f"partitions={partitions},")
    run_own(text)
    capfd.readouterr()
    run_own(text, run_id="dry", conf={"dry_run": True, "limit": 2}, only={"read_part", "build_requests"})
    shown = capfd.readouterr().out
    assert "No row would be sent. This is the request of the first row:" in shown
    assert f", model {ONE}" in shown
    assert "row id = " in shown


TRY = {"mode": "try"}


@pytest.mark.parametrize("more", ["", "partitions=2,"])
def test_a_try_shows_live_answers_and_writes_nothing(
    more: str,
    run_own: RunSteps,
    texts: psycopg.Connection,
    emulator: RunningEmulator,
    deployment: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    done = run_own(text_of(more=more), conf={**TRY, "limit": 3}, only={"read_part", "build_requests"})
    assert done["build_requests"] == [[]]
    assert texts.execute("SELECT to_regclass('answers')").fetchone() == (None,)
    ledger = emulator.ledger()
    assert (ledger["chat_requests_billed"], ledger["batches_created"]) == (3, 0)
    (page,) = deployment.glob("own/*/try.html")
    assert "A try of 3 rows: nothing was written" in page.read_text()
    log = capfd.readouterr().out
    assert "a try of 3 rows: nothing was written" in log
    assert "1,000 rows like these: about" in log
    # A cleared task shows the same answers again, and pays for none.
    run_own(text_of(more=more), conf={**TRY, "limit": 3}, only={"read_part", "build_requests"})
    assert emulator.ledger()["chat_requests_billed"] == 3
    for task_id in ("report", "clean_up"):
        with pytest.raises(AirflowSkipException, match="a try writes nothing"):
            run_own(text_of(more=more), conf=TRY, only={task_id}, results={"build_requests": [[]]})


def test_a_try_asks_ten_rows_whether_they_are_answered_or_not(
    run_own: RunSteps, texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    run_own(text_of(), run_id="whole")
    before = texts.execute("SELECT * FROM answers ORDER BY id").fetchall()
    texts.execute("INSERT INTO texts SELECT i, 'more ' || i, 'x' FROM generate_series(11, 12) i")
    # This would be orphaned: a try removes no row.
    texts.execute("DELETE FROM texts WHERE id = 2")
    run_own(text_of(), run_id="try", conf=TRY, only={"build_requests"})
    assert emulator.ledger()["chat_requests_billed"] == 10 + 1  # with the canary of the whole run
    assert texts.execute("SELECT * FROM answers ORDER BY id").fetchall() == before


@pytest.mark.parametrize(
    ("more", "conf", "said"),
    [
        ("", {"limit": 201}, "a try asks at most 200 rows"),
        (f"{PRICED}budget=Budget(max_live_cost=0.001),", {}, "max_live_cost"),
        (f"{PRICED}budget=Budget(approve_over=0.001, max_cost=1_000),", {}, "A try asks nobody to approve"),
    ],
)
def test_a_try_that_may_cost_too_much_sends_nothing(
    more: str, conf: dict[str, Any], said: str, run_own: RunSteps, texts: psycopg.Connection, emulator: RunningEmulator
) -> None:
    with pytest.raises(AirflowFailException, match=said):
        run_own(text_of(more=more), conf={**TRY, **conf}, only={"build_requests"})
    assert emulator.ledger()["chat_requests_billed"] == 0


def test_a_dry_run_says_how_to_try_rows_and_wins_over_a_try(
    run_own: RunSteps, texts: psycopg.Connection, emulator: RunningEmulator, capfd: pytest.CaptureFixture[str]
) -> None:
    run_own(text_of(), conf={**TRY, "dry_run": True}, only={"build_requests"})
    assert "trigger the DAG with mode=try" in capfd.readouterr().out
    assert emulator.ledger()["chat_requests_billed"] == 0


def test_a_try_without_chat_or_with_a_wrong_key_is_one_clear_error(
    run_own: RunSteps,
    texts: psycopg.Connection,
    emulator: RunningEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulator.faults([{"kind": "status", "endpoint": "POST /chat/completions", "status": 404, "count": None}])
    with pytest.raises(AirflowFailException, match="has no chat endpoint"):
        run_own(text_of(), conf=TRY, only={"build_requests"})
    emulator.disarm()
    connection = {"conn_type": "greennode", "host": emulator.base_url, "password": "wrong-key"}
    monkeypatch.setenv("AIRFLOW_CONN_GREENNODE_DEFAULT", json.dumps(connection))
    with pytest.raises(AuthError, match="401"):
        run_own(text_of(), run_id="wrong", conf=TRY, only={"build_requests"})


def test_a_try_that_was_deleted_and_made_again_as_a_run_writes_none_of_its_answers_as_harvest(
    run_own: RunSteps, texts: psycopg.Connection, capfd: pytest.CaptureFixture[str]
) -> None:
    run_own(text_of(), conf={**TRY, "limit": 2}, only={"build_requests"})
    later = datetime(2026, 1, 2, tzinfo=UTC)
    run_own(text_of(), only={"build_requests"}, started=later)
    assert "An earlier run of this id" not in capfd.readouterr().out
    assert texts.execute("SELECT count(*) FROM answers").fetchone() == (0,)
