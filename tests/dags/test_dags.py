from __future__ import annotations

from airflow.dag_processing.dagbag import DagBag

JOBS = {"support_tickets", "package_sections"}


def test_every_dag_file_gives_its_dag_and_no_error(dag_bag: DagBag) -> None:
    assert not dag_bag.import_errors
    assert set(dag_bag.dag_ids) == {*JOBS, "greennode_maintenance", "greennode_probe"}


def test_every_job_has_the_tasks_that_others_rely_on(dag_bag: DagBag) -> None:
    for job in JOBS:
        assert set(dag_bag.dags[job].task_ids) == {
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


def test_every_dag_explains_itself(dag_bag: DagBag) -> None:
    for dag in dag_bag.dags.values():
        assert dag.doc_md
        assert dag.doc_md.strip().startswith("# ")


def test_every_job_shows_its_query(dag_bag: DagBag) -> None:
    for job in JOBS:
        assert "SELECT" in dag_bag.dags[job].get_task("build_requests").sql
