"""The facts of a run whose job is one task: the step that it is at is read from staging."""

from __future__ import annotations

import msgspec
import pytest

from greennode_airflow.ui.airflow_runs import AirflowRun
from greennode_airflow.ui.known_runs import KnownRuns, run_facts
from greennode_airflow.ui.run_states import RUN_STATES
from greennode_airflow.ui.state_row import state_of
from greennode_batch.monitor.run_figures import run_figures
from greennode_batch.monitor.staged_run import StagedRun, StagedShard
from greennode_batch.state.receipts import Receipt

RUN = AirflowRun("own", "run_1", "running", "manual", None, None, None)
SHARD = StagedShard(attempt=1, index=0, shard_id="shard", model="m", requests=5, receipt=None)
SENT = Receipt("shard", "created", "file", batch_id="batch")


def shown(task_id: str, group: str, state: str, *shards: StagedShard) -> str:
    staged = StagedRun("", shards=shards)
    figures = run_figures(staged, {}, is_over=False, now=0.0)
    known = KnownRuns({RUN.ids: {task_id: {state: 1}}}, {}, {})
    facts = run_facts(RUN, group, known, staged, figures=figures, live={}, problem=None)
    return state_of(RUN_STATES, facts).name


@pytest.mark.parametrize(
    ("task_id", "group"), [("label", "label"), ("outer.label", "outer.label"), ("label", "label.2")]
)
def test_a_whole_job_is_where_its_staging_is(task_id: str, group: str) -> None:
    assert shown(task_id, group, "running") == "building"
    sent = msgspec.structs.replace(SHARD, receipt=SENT)
    assert shown(task_id, group, "deferred", sent) == "waiting"
    assert shown(task_id, group, "deferred", SHARD) == "waiting-for-capacity"
    assert shown(task_id, group, "running", SHARD) == "sending"
    collected = msgspec.structs.replace(sent, receipt=msgspec.structs.replace(SENT, state="collected"))
    assert shown(task_id, group, "running", collected) == "writing"


def test_another_task_is_none_of_the_job() -> None:
    assert shown("label_2", "label", "running") == "before-the-job"
