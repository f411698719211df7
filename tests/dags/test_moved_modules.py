"""DAG files of the release before: their module paths still work, and warn."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from greennode_moved import MOVED

BEFORE = Path(__file__).parent / "of_release_0_1"


def test_the_dag_files_of_the_release_before_give_the_same_dags(dag_bag: DagBag) -> None:
    before = DagBag(str(BEFORE))
    assert not before.import_errors
    new = {"ticket_moods", "ticket_replies", "daily_tickets"}
    assert set(before.dag_ids) == set(dag_bag.dag_ids) - new
    for dag_id, dag in before.dags.items():
        assert set(dag.task_ids) == set(dag_bag.dags[dag_id].task_ids)


def test_a_dag_file_of_the_release_before_runs(deployment: Path) -> None:
    dag = DagBag(str(BEFORE)).dags["greennode_maintenance"]
    assert dag.test().state == "success"


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_moved_module_is_the_module_of_today_and_warns_of_its_new_path(old: str, new: str) -> None:
    program = f"import warnings; warnings.simplefilter('error'); import {old}"
    refused = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert f"DeprecationWarning: {old} is now {new}" in refused.stderr
    assert importlib.import_module(old) is importlib.import_module(new)


def test_a_module_below_a_moved_package_is_loaded_once() -> None:
    old = importlib.import_module("greennode_batch.evaluation.judge")
    assert old is importlib.import_module("greennode_batch.analysis.evaluation.judge")
