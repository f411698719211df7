"""docs/tutorials/first-job.md makes a job that works: its files, as the page has them, in a project of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from greennode_emulator.server import RunningEmulator

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "tutorials" / "first-job.md").read_text()
FILES = dict(re.findall(r"^`(\S+)`\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
BEGINNING = re.search(r"begins with\n\n```text\n(Built .+)$", PAGE, re.MULTILINE)[1]
RUN = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

for conf in json.loads(sys.argv[2]):
    # Read anew for each run: dag.test() keeps a run's conf in the DAG's params.
    bag = DagBag(sys.argv[1])
    assert not bag.import_errors, bag.import_errors
    assert bag.get_dag("ticket_callbacks").test(run_conf=conf).state == "success"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project with the page's files, and nothing else, in addition."""
    folder = tmp_path / "project"
    for name in ("include", "plugins", "dags"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        assert not path.exists(), f"{name}: the page makes a file that is there already"
        path.write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(folder / name) for name in ("include", "plugins")))
    # The page's reader begins on a server that no run knows; the other tests have no pilot.
    monkeypatch.setenv("AIRFLOW__GREENNODE__PILOT_REQUESTS", "100")
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(folder / "dags"))
    monkeypatch.setenv("AIRFLOW__CORE__PLUGINS_FOLDER", str(folder / "plugins"))
    return folder


def python(project: Path, text: str, *arguments: str) -> str:
    """Run a program with the project's code; what it printed and logged."""
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments], capture_output=True, text=True, check=False, cwd=project
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def run(project: Path, *confs: str) -> str:
    """Run the page's DAG, once for each conf; what it logged."""
    return python(project, RUN, str(project / "dags"), f"[{', '.join(confs)}]")


def test_the_page_has_one_query_one_prompt_and_one_dag_file() -> None:
    assert [Path(name).suffix for name in FILES] == [".sql", ".md", ".py"]
    assert len(FILES["dags/ticket_callbacks.py"].splitlines()) <= 40


def test_the_page_s_files_declare_a_job(project: Path) -> None:
    text = "from airflow.dag_processing.dagbag import DagBag; import sys; bag = DagBag(sys.argv[1]); "
    requested = "print(bag.import_errors, *bag.dags['ticket_callbacks'].task_ids[:1])"
    assert "{} build_requests" in python(project, text + requested, str(project / "dags"))


@pytest.mark.nightly
@pytest.mark.usefixtures("_metadata", "deployment")
def test_the_page_s_files_make_a_job_that_runs_as_the_page_says(
    project: Path, tickets: int, warehouse: psycopg.Connection, emulator: RunningEmulator
) -> None:
    log = run(project, '{"dry_run": true}', "{}", "{}")
    assert BEGINNING in log, log.partition("Built ")[2][:600]
    requested = warehouse.execute(
        "SELECT s.ticket_id, call_back IS NOT NULL AND within_hours BETWEEN 1 AND 72 AND reason IS NOT NULL "
        "FROM support_tickets s JOIN ticket_callbacks t USING (ticket_id) WHERE channel IN ('email', 'phone')"
    ).fetchall()
    assert len(requested) == warehouse.execute("SELECT count(*) FROM ticket_callbacks").fetchone()[0] == 126
    assert all(is_answered for _, is_answered in requested)
    ledger = emulator.ledger()
    assert ledger["batches_created"] == 2, (
        "the dry run sends nothing, the second a pilot and the rest, the third nothing"
    )
    assert set(ledger["requests"].values()) == {1}
