from __future__ import annotations

import pytest

from greennode_batch.analysis.evaluation.judge import Verdict, judge_of
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import FileTarget, SqlTarget


def job(**changes: object) -> BatchJob:
    declared = {
        "name": "answers",
        "source": SqlSource(conn_id="lake", sql="SELECT 1"),
        "key": ("shop", "id"),
        "model": ["a", "b"],
        "prompt": "p",
        "conn_id": "greennode_other",
        "target": SqlTarget(conn_id="warehouse", table="public.answers"),
    }
    return BatchJob(**{**declared, **changes})


def test_a_judge_reads_the_jobs_table_and_writes_one_beside_it() -> None:
    judge = judge_of(job(), sql="judge.sql", prompt="judge.md", model="c")
    assert judge.source == SqlSource(conn_id="warehouse", sql="judge.sql")
    assert judge.target == SqlTarget(conn_id="warehouse", table="public.answers_verdicts")
    assert (judge.name, judge.key, judge.model) == ("answers_judge", ("shop", "id", "candidate"), "c")
    assert (judge.answer, judge.conn_id) == (Verdict, "greennode_other")


def test_what_is_said_of_the_judge_holds() -> None:
    judge = judge_of(job(), sql="judge.sql", prompt="judge.md", model="c", name="jury", params={"temperature": 1})
    assert (judge.name, judge.params) == ("jury", {"temperature": 1})


def test_a_job_without_a_table_cannot_be_judged() -> None:
    with pytest.raises(ConfigError, match="has no SqlTarget"):
        judge_of(job(target=FileTarget(path="/data/answers")), sql="judge.sql", prompt="judge.md", model="c")


@pytest.mark.parametrize("score", [0, 6, 2.5])
def test_a_verdict_is_a_whole_number_from_one_to_five(score: float) -> None:
    with pytest.raises(ValueError, match="score"):
        Verdict(score=score, reason="r")
