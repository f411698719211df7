"""The packages' DAG on a thousand real rows: a composite key, two shards, every row its own answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from airflow.sdk import DAG
from psycopg.rows import dict_row

from greennode_emulator.server import RunningEmulator
from greennode_local.samples import SAMPLES, load

DATA = Path(__file__).parents[3] / "shared" / "data" / "debian_packages.parquet"
ROWS = 1_000


@pytest.fixture
def packages(database: str, tmp_path: Path) -> int:
    if not DATA.exists():
        pytest.skip(f"the real rows are not here: {DATA}")
    table = pq.read_table(DATA)
    # The four names that come twice are among them.
    twice = [i for i, name in enumerate(table["package"].to_pylist()) if name.startswith("linux-")][:200]
    few = table.take(sorted({*twice, *range(ROWS - len(twice))}))
    pq.write_table(few, tmp_path / "few.parquet")
    with psycopg.connect(database) as connection:
        return load(connection, SAMPLES["package_sections"], tmp_path / "few.parquet")


def test_every_package_is_joined_to_its_own_answer_by_its_composite_key(
    run_steps: Callable[..., dict[str, list[Any]]],
    read_dag: Callable[[str], DAG],
    warehouse: psycopg.Connection,
    packages: int,
    emulator: RunningEmulator,
    deployment: Path,
    expected_answer: Callable[..., dict[str, Any]],
) -> None:
    dag = read_dag("package_sections")
    run_steps(dag)
    job = dag.get_task("build_requests").job
    cursor = warehouse.cursor(row_factory=dict_row)
    rows = cursor.execute(
        "SELECT p.*, l.section AS said_section, l.confidence, l.status FROM packages p "
        "JOIN package_labels l USING (package, version)"
    ).fetchall()
    assert len(rows) == packages == warehouse.execute("SELECT count(*) FROM package_labels").fetchone()[0]
    for row in rows:
        assert row["status"] == "succeeded"
        answer = expected_answer(job.prompt, row, job.answer, **job.params)
        assert {"section": row["said_section"], "confidence": row["confidence"]} == answer, row["package"]
    assert set(emulator.ledger()["requests"].values()) == {1}
