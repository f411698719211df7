"""The example jobs, each of their steps against a real PostgreSQL and the emulator; in the nightly tier, whole runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import psycopg
import pytest
from airflow.sdk import DAG
from psycopg.rows import dict_row

from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.texts import JOBS_FOLDER
from greennode_emulator.server import RunningEmulator
from greennode_local.samples import SAMPLES, data_of, load

RunSteps = Callable[..., dict[str, list[Any]]]
ReadDag = Callable[[str], DAG]
MODELS = ("google/gemma-4-31b-it", "qwen/qwen3.6-flash", "zai/glm-5.2")


@pytest.fixture
def sample(request: pytest.FixtureRequest, warehouse: psycopg.Connection) -> str:
    """The job's own sample is loaded."""
    one = SAMPLES[request.param]
    load(warehouse, one, data_of(one, None))
    return request.param


def job_of(read_dag: ReadDag, dag_id: str, group: str = "") -> BatchJob:
    return read_dag(dag_id).get_task(f"{group}.build_requests" if group else "build_requests").job


def rows_of(warehouse: psycopg.Connection, query: str) -> list[dict[str, Any]]:
    return warehouse.cursor(row_factory=dict_row).execute(query).fetchall()


def answered_by_key(
    warehouse: psycopg.Connection,
    dag_id: str,
    job: BatchJob,
    expected_answer: Callable[..., dict[str, Any]],
    model: str = MODELS[0],
) -> int:
    """Assert that each row of the job's query has its own answer in the target; how many there are."""
    table = job.target.table
    written = {
        tuple(row[name] for name in job.key_columns): row
        for row in rows_of(warehouse, f"SELECT * FROM {table}")
        if row["model"] == model
    }
    requested = rows_of(warehouse, SAMPLES[dag_id].query)
    assert len(requested) == len(written)
    for row in requested:
        key = tuple(row[name] for name in job.key_columns)
        answer = job.answer(**expected_answer(job.prompt, row, job.answer, model=model, **job.params)).model_dump()
        assert {name: written[key][name] for name in answer} == answer, key
        assert written[key]["status"] == "succeeded"
    return len(requested)


@pytest.mark.parametrize(
    ("sample", "rows", "columns"),
    [
        ("product_copy", 192, {"title": "text", "hashtags": "jsonb"}),
        ("order_records", 48, {"deliver_on": "date", "cash_on_delivery": "bigint", "items": "jsonb"}),
    ],
    indirect=["sample"],
    ids=["copy", "records"],
)
def test_every_row_of_the_query_has_its_own_typed_answer(
    sample: str,
    rows: int,
    columns: dict[str, str],
    run_steps: RunSteps,
    read_dag: ReadDag,
    warehouse: psycopg.Connection,
    expected_answer: Callable[..., dict[str, Any]],
) -> None:
    run_steps(read_dag(sample))
    job = job_of(read_dag, sample)
    assert answered_by_key(warehouse, sample, job, expected_answer) == rows
    types = warehouse.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s", [job.target.table]
    ).fetchall()
    assert columns.items() <= dict(types).items()


@pytest.mark.parametrize("channel", ["shop_page", "facebook", "email", "sms"])
def test_a_text_longer_than_the_prompt_allows_its_channel_is_no_answer(channel: str, read_dag: ReadDag) -> None:
    answer = job_of(read_dag, "product_copy").answer
    prompt = jinja2.Template((JOBS_FOLDER / "product_copy" / "prompt.md").read_text())
    row = {"channel": channel, "language": "en", "name": "Lamp", "category": "home", "price_vnd": 1, "facts": "f"}
    limit = int(re.search(r"(\d+) characters at most", prompt.render(**row, audience="a"))[1])
    fits = {"written_for": channel, "title": "a title", "body": "x" * limit, "hashtags": []}
    assert answer(**fits).body == fits["body"]
    with pytest.raises(ValueError, match=f"{channel} takes {limit}"):
        answer(**{**fits, "body": "x" * (limit + 1)})


def test_the_tickets_labels_are_summed_up_by_category_on_a_page(
    run_steps: RunSteps,
    read_dag: ReadDag,
    warehouse: psycopg.Connection,
    tickets: int,
    deployment: Path,
    expected_answer: Callable[..., dict[str, Any]],
) -> None:
    run_steps(read_dag("support_tickets"))
    run_steps(read_dag("ticket_report"))
    job = job_of(read_dag, "ticket_report")
    categories = answered_by_key(warehouse, "ticket_report", job, expected_answer)
    assert categories == warehouse.execute("SELECT count(DISTINCT category) FROM ticket_labels").fetchone()[0] > 1
    (page,) = (deployment / "ticket_report").rglob("page.html")
    text = page.read_text()
    assert f"{tickets} tickets in {categories} categories" in text
    for (headline,) in warehouse.execute("SELECT headline FROM ticket_reports").fetchall():
        assert headline in text


@pytest.mark.parametrize("sample", ["model_evaluation"], indirect=True)
def test_models_are_compared_by_labels_and_by_a_judge(
    sample: str,
    run_steps: RunSteps,
    read_dag: ReadDag,
    warehouse: psycopg.Connection,
    emulator: RunningEmulator,
    deployment: Path,
    expected_answer: Callable[..., dict[str, Any]],
) -> None:
    run_steps(read_dag(sample))
    job = job_of(read_dag, sample, "answers")
    for model in MODELS:
        assert answered_by_key(warehouse, sample, job, expected_answer, model) == 72
    verdicts = rows_of(warehouse, "SELECT candidate, count(*) AS n FROM wallet_answers_verdicts GROUP BY candidate")
    assert {row["candidate"]: row["n"] for row in verdicts} == dict.fromkeys(MODELS, 72)
    (page,) = (deployment / sample).rglob("evaluation.html")
    text = page.read_text()
    for model, right, score in warehouse.execute(
        "SELECT a.model, count(*) FILTER (WHERE a.intent = m.intent), avg(v.score) FROM wallet_answers a "
        "JOIN wallet_messages m USING (message_id) "
        "JOIN wallet_answers_verdicts v ON v.message_id = a.message_id AND v.candidate = a.model GROUP BY a.model"
    ).fetchall():
        assert f'aria-label="{model}: {100 * right / 72:.0f} % right' in text
        assert f"{score:.2f}" in text


@pytest.mark.parametrize("sample", ["synthetic_data"], indirect=True)
def test_messages_that_are_nearly_the_same_are_marked_and_the_first_of_them_is_kept(
    sample: str,
    run_steps: RunSteps,
    read_dag: ReadDag,
    warehouse: psycopg.Connection,
    expected_answer: Callable[..., dict[str, Any]],
) -> None:
    run_steps(read_dag(sample), run_id="first")
    assert answered_by_key(warehouse, sample, job_of(read_dag, sample), expected_answer) == 144
    warehouse.execute(
        "UPDATE synthetic_messages SET text = 'Where is my parcel? It was to be here on Monday' "
        "|| CASE variant WHEN 1 THEN '' ELSE '!!' END WHERE seed_id = 3"
    )
    run_steps(read_dag(sample), run_id="second")
    marks = rows_of(warehouse, "SELECT * FROM synthetic_duplicates")
    assert len(marks) == 144
    third = {row["variant"]: row["duplicate_of"] for row in marks if row["seed_id"] == 3}
    assert third == {1: None, **dict.fromkeys(range(2, 13), "(3, 1)")}


@pytest.mark.nightly
@pytest.mark.parametrize(
    "sample", ["product_copy", "order_records", "model_evaluation", "synthetic_data"], indirect=["sample"]
)
def test_each_example_runs_whole(sample: str, run_dag: Callable[..., str]) -> None:
    assert run_dag(sample) == "success"


@pytest.mark.nightly
def test_the_report_of_tickets_runs_whole(run_dag: Callable[..., str], tickets: int) -> None:
    assert [run_dag(name) for name in ("support_tickets", "ticket_report")] == ["success", "success"]
