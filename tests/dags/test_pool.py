"""The pool that a job's batches are sent and waited for in."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from airflow.cli.cli_parser import get_parser
from airflow.models import Pool
from airflow.sdk import DAG

from greennode_airflow.pipeline import batch_table
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget

PROJECT = Path(__file__).parents[2]


def dag_of(**changes: object) -> DAG:
    job = BatchJob(
        name="own",
        source=FileSource(path="/rows.parquet"),
        key="id",
        model="google/gemma-4-31b-it",
        prompt="{{ text }}",
        target=FileTarget(path="/answers"),
        **changes,
    )
    return batch_table(job)


def test_what_sends_and_what_waits_stands_in_the_pool_and_what_is_sent_comes_first() -> None:
    tasks = dag_of(pool="greennode").tasks
    inside = {task.task_id: task for task in tasks if task.pool == "greennode"}
    kinds = ("submit_batch", "wait_for_batch")
    assert set(inside) == {f"attempt_{number}.{kind}" for number in (1, 2) for kind in kinds}
    for number in (1, 2):
        submit, wait = (inside[f"attempt_{number}.{kind}"] for kind in kinds)
        assert wait.priority_weight > submit.priority_weight
        assert {str(submit.weight_rule), str(wait.weight_rule)} == {
            "absolute"
        } or submit.weight_rule == wait.weight_rule


def test_without_one_all_tasks_are_in_airflows_own() -> None:
    assert {task.pool for task in dag_of().tasks} == {Pool.DEFAULT_POOL_NAME}


def test_a_pool_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="pool is ' '; it is the name of a pool of Airflow"):
        dag_of(pool=" ")


@pytest.mark.usefixtures("_metadata")
def test_set_up_makes_a_pool_that_counts_deferred_tasks_as_the_docs_say() -> None:
    line = r"airflow (pools set greennode 20 .* --include-deferred)"
    said = {
        found[1]
        for path in ("docs/how-to/guide.md", "docker/setup.sh")
        if (found := re.search(line, (PROJECT / path).read_text()))
    }
    (command,) = said
    requested = get_parser().parse_args(shlex.split(command))
    requested.func(requested)
    pool = Pool.get_pool("greennode")
    assert (pool.slots, pool.include_deferred) == (20, True)
