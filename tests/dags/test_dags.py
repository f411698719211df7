from __future__ import annotations

import re
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

JOBS = {"support_tickets", "package_sections", "product_copy", "order_records"}
# Those that go on with what they have written, and the task that does so.
LONGER_JOBS = {"ticket_report": "page", "synthetic_data": "mark_near_duplicates"}
# Those whose tasks are in groups, by the group of the job whose folder it is.
GROUPED_JOBS = ("model_evaluation", "ticket_replies", "daily_tickets")
ALL_JOBS = sorted({*JOBS, *LONGER_JOBS, *GROUPED_JOBS})
FOLDER = Path(__file__).parents[2] / "include" / "jobs"
MAX_LINES = 40
# A whole pipeline, of which the job is a step.
MAX_PIPELINE_LINES = 90


def test_every_dag_file_gives_its_dag_and_no_error(dag_bag: DagBag) -> None:
    assert not dag_bag.import_errors
    assert set(dag_bag.dag_ids) == {*ALL_JOBS, "greennode_maintenance", "greennode_probe", "ticket_moods"}


def test_every_job_has_the_tasks_that_others_rely_on(dag_bag: DagBag) -> None:
    for job in {*JOBS, *LONGER_JOBS}:
        assert set(dag_bag.dags[job].task_ids) - {LONGER_JOBS.get(job)} == {
            "build_requests",
            "attempt_1.submit_batch",
            "attempt_1.wait_for_batch",
            "attempt_1.collect_results",
            "build_retry_1",
            "attempt_2.submit_batch",
            "attempt_2.wait_for_batch",
            "attempt_2.collect_results",
            "join_results",
            "report",
            "clean_up",
        }


@pytest.mark.parametrize("job", ALL_JOBS)
def test_a_job_is_one_short_dag_file_and_a_folder_that_tells_of_its_files(job: str, dag_bag: DagBag) -> None:
    text = Path(dag_bag.dags[job].fileloc).read_text()
    assert len(text.splitlines()) <= (MAX_PIPELINE_LINES if job == "daily_tickets" else MAX_LINES)
    named = set(re.findall(rf'"{job}/([^"]+)"', text))
    assert {"source.sql", "prompt.md"} <= named
    readme = (FOLDER / job / "README.md").read_text()
    there = {path.name for path in (FOLDER / job).iterdir()} - {"README.md"}
    assert named <= there
    assert all(f"`{name}`" in readme for name in there)


def test_the_report_on_tickets_runs_when_the_tickets_are_classified(dag_bag: DagBag) -> None:
    outlets = dag_bag.dags["support_tickets"].get_task("report").outlets
    alias, earlier = outlets
    assert (alias.name, earlier.uri) == ("warehouse.ticket_labels", "greennode://warehouse/ticket_labels")
    assert dag_bag.dags["ticket_report"].timetable.asset_condition.objects == (alias,)


def test_every_dag_explains_itself_and_has_a_name_for_people(dag_bag: DagBag) -> None:
    for dag_id, dag in dag_bag.dags.items():
        assert dag.doc_md
        assert dag.doc_md.strip().startswith("# ")
        assert dag.dag_display_name != dag_id
        assert dag.doc_md.strip().startswith(f"# {dag.dag_display_name}: {dag.description}\n")


def test_every_job_has_its_form_with_help_and_checks(dag_bag: DagBag) -> None:
    for job in ALL_JOBS:
        params = dag_bag.dags[job].params
        models = ["answers.models", "answers_judge.models"] if job == "model_evaluation" else ["models"]
        for name in ("limit", "refresh", "retry_final", "dry_run", *models):
            field = params.get_param(name)
            assert field.schema["title"], (job, name)
            assert field.schema.get("type") or field.schema.get("enum"), (job, name)
            assert field.description or field.schema["description"], (job, name)


def test_every_job_shows_its_query(dag_bag: DagBag) -> None:
    for job in {*JOBS, *LONGER_JOBS}:
        assert "SELECT" in dag_bag.dags[job].get_task("build_requests").sql
