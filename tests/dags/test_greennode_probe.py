from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from upath import UPath

from greennode_batch.api.profile import ApiProfile
from greennode_batch.state.confirmed_profile import is_confirmed
from greennode_emulator.server import RunningEmulator

RunProbe = Callable[..., Any]


@pytest.fixture
def run_probe(read_dag: Callable[[str], DAG], run_steps: Callable[..., Any]) -> RunProbe:
    """Run the DAG's task with what the form chose."""
    return lambda **conf: run_steps(read_dag("greennode_probe"), conf=conf)


def found_in(deployment: Path, name: str) -> str:
    (path,) = deployment.glob(f"greennode_probe/*/probe/{name}")
    return path.read_text()


def test_it_finds_the_profile_and_leaves_the_report_in_the_staging_area(
    run_probe: RunProbe, deployment: Path, emulator: RunningEmulator, capfd: pytest.CaptureFixture[str]
) -> None:
    run_probe(model="GOOGLE/gemma-4-31b-it", wait_seconds=30)
    assert json.loads(found_in(deployment, "profile.json")) == {"profile": "greennode"}
    report = found_in(deployment, "report.md")
    assert "The list spells GOOGLE/gemma-4-31b-it as google/gemma-4-31b-it" in report
    assert emulator.ledger()["batches_created"] == 3
    # The answers of a batch were read with this profile, so a run with it needs no pilot.
    assert is_confirmed(UPath(deployment), "127.0.0.1", ApiProfile())
    log = "".join(capfd.readouterr())
    assert "2 of 2 good lines" in log
    assert emulator.api_key not in log


def test_a_refused_key_fails_it_at_once_and_the_report_says_why(
    run_probe: RunProbe, deployment: Path, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"conn_type": "greennode", "host": emulator.base_url, "password": "wrong"}
    monkeypatch.setenv("AIRFLOW_CONN_GREENNODE_DEFAULT", json.dumps(wrong))
    with pytest.raises(AirflowFailException, match="ended early"):
        run_probe()
    assert "the server refuses the key" in found_in(deployment, "report.md")
    assert emulator.ledger()["chat_requests_billed"] == 0


def test_a_key_that_the_form_does_not_have_sends_nothing(run_probe: RunProbe, emulator: RunningEmulator) -> None:
    with pytest.raises(AirflowFailException, match=r"'wait_second' \(did you mean 'wait_seconds'"):
        run_probe(wait_second=30)
    assert not emulator.ledger()["calls"]


def test_a_profile_that_cannot_be_saved_fails_before_anything_is_sent(
    run_probe: RunProbe, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_API_TOKEN", raising=False)
    monkeypatch.delenv("AIRFLOW_API_USERNAME", raising=False)
    with pytest.raises(AirflowFailException, match="AIRFLOW_API_TOKEN, or with"):
        run_probe(save=True)
    assert not emulator.ledger()["calls"]


def test_its_form_asks_for_connection_model_and_wait(dag_bag: DagBag) -> None:
    dag = dag_bag.dags["greennode_probe"]
    assert dag.params.dump() == {
        "connection_id": "greennode_default",
        "model": None,
        "wait_seconds": 600,
        "save": False,
    }
    assert dag.task_ids == ["probe"]
