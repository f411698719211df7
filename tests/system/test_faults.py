"""The most telling cases of the fault matrix on the real Airflow; `make faults` plays all of them.

They have an Airflow of their own, which notices soon what died: a pull request has the same cases on the engine alone.
"""

from __future__ import annotations

import pytest

from greennode_faults.airflow_matrix import QUICK, play
from greennode_faults.airflow_stage import AirflowStage

pytestmark = [pytest.mark.system, pytest.mark.nightly, pytest.mark.timeout(600)]


def result(stage: AirflowStage, group: str, name: str) -> str:
    (case,) = [case for case in QUICK if (case.group, case.name) == (group, name)]
    return play(stage, case).result


def test_a_worker_killed_between_a_create_and_its_receipt_makes_for_no_second_batch(faults_stage: AirflowStage) -> None:
    assert result(faults_stage, "kill -9", "after the create, before its receipt") == "ok"


def test_a_worker_killed_in_the_midst_of_its_upsert_leaves_each_row_written_once(faults_stage: AirflowStage) -> None:
    assert result(faults_stage, "kill -9", "in mid-write to the target") == "ok"


def test_a_worker_that_wakes_up_when_another_has_its_shard_creates_no_second_batch(faults_stage: AirflowStage) -> None:
    assert result(faults_stage, "zombie", "a create under way, accepted later") == "ok"


def test_batches_that_wait_outlive_their_triggerer(faults_stage: AirflowStage) -> None:
    assert result(faults_stage, "kill -9", "the triggerer, while batches wait") == "ok"


def test_what_expired_or_is_missing_is_asked_again_and_nothing_else(faults_stage: AirflowStage) -> None:
    assert result(faults_stage, "batch", "one expired half done, lines missing in both") == "ok"


def test_each_quick_case_is_a_test() -> None:
    assert len(QUICK) == len([name for name in globals() if name.startswith("test_")]) - 1
