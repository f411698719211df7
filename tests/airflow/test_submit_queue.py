"""Two jobs that share a connection which takes one batch at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.operators import GreenNodeSubmitBatchOperator
from greennode_airflow.triggers import GreenNodePauseTrigger
from greennode_emulator.server import RunningEmulator


class States(dict[str, Any]):
    """The task state store, which has no database here."""

    set = dict.__setitem__


class Task:
    try_number = 1


@pytest.fixture
def operators(
    emulator: RunningEmulator,
    set_connection: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[GreenNodeSubmitBatchOperator]:
    """Of two shards of each of two jobs, in turns."""
    limits = {"max_batches_in_flight": 1}
    set_connection(host=emulator.base_url, password=emulator.api_key, extra=limits)
    monkeypatch.setenv("AIRFLOW__GREENNODE__STAGING", f"file://{tmp_path}")
    made = []
    for number in (1, 2):
        for job in ("one", "other"):
            folder = tmp_path / job / "run" / "shards" / f"{job}-{number}"
            folder.mkdir(parents=True)
            body = {"model": "google/gemma-4-31b-it", "messages": [{"role": "user", "content": f"{job} {number}"}]}
            (folder / "requests.jsonl").write_text(json.dumps({"custom_id": "a", "body": body}) + "\n")
            made.append(GreenNodeSubmitBatchOperator(task_id="submit_batch", shard=f"file://{folder}"))
    return made


def submitted(operator: GreenNodeSubmitBatchOperator) -> bool:
    """Whether the batch was created; else the task has gone to the triggerer, to try again."""
    try:
        operator.execute({"ti": Task(), "task_state_store": States()})
    except TaskDeferred as deferred:
        return not (isinstance(deferred.trigger, GreenNodePauseTrigger) and deferred.method_name == "resume")
    return True


def test_no_more_than_one_batch_of_two_jobs_is_open_at_a_time_and_all_are_sent(
    operators: list[GreenNodeSubmitBatchOperator], emulator: RunningEmulator, tmp_path: Path
) -> None:
    waiting = operators
    with GreenNodeHook().get_conn() as client:
        while waiting:
            waiting = [operator for operator in waiting if not submitted(operator)]
            assert sum(not batch.status.is_terminal for batch in client.list_batches()) <= 1
    assert emulator.ledger(summary=True)["batches_created"] == 4
    admitted = sorted((tmp_path / ".line" / "greennode_default").glob("in-*.json"))
    order = [json.loads(path.read_text())["folder"].rpartition("/")[2] for path in admitted]
    assert order == ["one-1", "other-1", "one-2", "other-2"], "who came first goes first"
