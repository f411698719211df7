"""What is told of a run while it goes on and after: metrics, the state of its tasks, and lineage."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import select

from greennode_emulator.server import RunningEmulator

RunFile = Callable[..., dict[str, str]]

DAG = """
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import FileTarget, SqlTarget
from greennode_batch.job.sources import SqlSource

JOB = BatchJob(
    name="own",
    source=SqlSource(
        conn_id="warehouse",
        sql="SELECT id, body FROM questions WHERE id <= %(most)s AND body NOT LIKE 'x%%'",
        parameters={"most": 5},
    ),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{ body }}",
    prices={"google/gemma-4-31b-it": [1_000_000, 2_000_000]},
    target=(SqlTarget(conn_id="warehouse", table="answers"), FileTarget(path="FOLDER")),
    attempts=1,
    canary=0,
    max_failed_ratio=0.5,
    max_shard_requests=3,
)

dag = batch_table(JOB)
"""


@pytest.fixture
def questions(warehouse: psycopg.Connection) -> None:
    warehouse.execute("CREATE TABLE questions AS SELECT i AS id, 'row ' || i AS body FROM generate_series(1, 7) i")


def states() -> dict[tuple[str, int], dict[str, Any]]:
    from airflow.models.task_state_store import TaskStateStoreModel  # noqa: PLC0415 - not before Airflow 3.3

    with create_session() as session:
        latest = session.scalar(select(DagRun.run_id).where(DagRun.dag_id == "own").order_by(DagRun.id.desc()))
        found = session.scalars(select(TaskStateStoreModel).where(TaskStateStoreModel.run_id == latest))
        return {(one.task_id, one.map_index): json.loads(one.value) for one in found}


def datasets(events: Sequence[dict[str, Any]], task_id: str) -> list[tuple[dict[str, int | None], ...]]:
    """Of each event of a task its inputs and outputs, by name, with their counts of rows."""
    return [
        tuple(
            {
                f"{one['namespace']} {one['name']}": one[facets].get(statistics, {}).get("rowCount")
                for one in event[kind]
            }
            for kind, facets, statistics in (
                ("inputs", "inputFacets", "inputStatistics"),
                ("outputs", "outputFacets", "outputStatistics"),
            )
        )
        for event in events
        if event["job"]["name"] == f"own.{task_id}"
    ]


def test_a_run_tells_its_metrics_its_lineage_and_the_shard_of_each_task(
    run_file: RunFile,
    questions: None,
    database: str,
    emulator: RunningEmulator,
    statsd: Callable[[], list[str]],
    lineage_events: Callable[[], list[dict[str, Any]]],
    tmp_path: Path,
    deployment: Path,
) -> None:
    emulator.faults([{"kind": "line_error", "status": 400, "count": 1, "batches": 1}])
    run_file(DAG.replace("FOLDER", str(tmp_path / "answers")))

    model, conn = "model=google/gemma-4-31b-it", "conn_id=greennode_default"
    told: Counter[str] = Counter()
    for line in statsd():
        name, _, value = line.removeprefix("airflow.greennode.").partition(":")
        told[name] += float(value.partition("|")[0])
    assert told[f"batches_submitted,dag_id=own,{conn},outcome=created"] == 2
    assert told[f"requests,dag_id=own,{conn},status=succeeded"] == 4
    assert told[f"requests,dag_id=own,{conn},status=failed"] == 1
    assert told[f"rows,dag_id=own,{model},status=succeeded"] == 4
    assert told[f"rows,dag_id=own,{model},status=failed"] == 1
    prompt, completion = (told[f"tokens,dag_id=own,{model},kind={kind}"] for kind in ("prompt", "completion"))
    assert told[f"cost,dag_id=own,{model},currency=VND"] == pytest.approx((prompt + 2 * completion) / 2)
    assert {name.partition(",")[0] for name in told} >= {"batches_ended", "wait", "saving"}

    if find_spec("airflow.models.task_state_store") is not None:
        by_shard: dict[int, set[tuple[Any, ...]]] = defaultdict(set)
        for (task_id, index), state in states().items():
            assert task_id.startswith("attempt_1.")
            by_shard[index].add((state["attempt"], state["shard"], state["batch_id"]))
        assert [len(by_shard[index]) for index in (0, 1)] == [1, 1], "all tasks of a shard say the same"
        assert len({batch for told_of in by_shard.values() for _, _, batch in told_of}) == 2

    where = conninfo_to_dict(database)
    tables = f"postgres://{where['host']}:{where['port']} {where['dbname']}.public"
    staged, files = f"file {deployment}/own", f"file {tmp_path}/answers"
    events = lineage_events()
    assert datasets(events, "build_requests") == [({f"{tables}.questions": 5}, {staged: None})]
    written = datasets(events, "join_results")
    assert sorted(rows for _, outputs in written for rows in outputs.values()) == [2, 2, 3, 3]
    for inputs, outputs in written:
        assert (inputs, set(outputs)) == ({staged: None}, {f"{tables}.answers", files})
    (join, *_) = [event for event in events if event["job"]["name"] == "own.join_results"]
    assert {"name": "status", "type": "string", "fields": []} in join["outputs"][0]["facets"]["schema"]["fields"]
    assert datasets(events, "report") == [({f"{tables}.answers": 5, files: 5}, {})]
    (build,) = [event for event in events if event["job"]["name"] == "own.build_requests"]
    assert "FROM questions" in build["job"]["facets"]["sql"]["query"]
