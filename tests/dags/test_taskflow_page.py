"""What docs/how-to/taskflow.md shows works: each of its DAG files runs, and so does the example that it names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.sdk import DAG

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "taskflow.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
RunSteps = Callable[..., dict[str, list[Any]]]


@pytest.fixture
def bag_of(tmp_path: Path) -> Callable[[str], DAG]:
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415

    def make(text: str) -> DAG:
        folder = tmp_path / "page_dags"
        folder.mkdir()
        (folder / "page.py").write_text(text)
        bag = DagBag(str(folder))
        assert not bag.import_errors
        (dag,) = bag.dags.values()
        return dag

    return make


def test_a_job_as_one_task(run_steps: RunSteps, bag_of: Callable[[str], DAG], tickets: int) -> None:
    done = run_steps(bag_of(BLOCKS[0]))
    (counted,) = done["count"]
    assert sum(counted.values()) == tickets
    assert set(counted) <= {"calm", "worried", "angry"}


def test_the_rows_of_a_function(run_steps: RunSteps, bag_of: Callable[[str], DAG]) -> None:
    assert len(BLOCKS) == 2
    assert run_steps(bag_of(BLOCKS[1]))["show"] == [3]


def test_the_example_answers_the_angry_tickets(
    run_steps: RunSteps, read_dag: Callable[[str], DAG], warehouse: psycopg.Connection, tickets: int
) -> None:
    done = run_steps(read_dag("ticket_moods"))
    (angry,) = warehouse.execute("SELECT count(*) FROM ticket_moods WHERE mood = 'angry'").fetchone()
    assert 0 < angry < tickets
    assert done["answer"][0]["succeeded"] == angry
    assert done["say"][0]
