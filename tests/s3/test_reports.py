"""Reports of runs whose staging is a bucket."""

from __future__ import annotations

import pytest
from airflow.sdk import ObjectStoragePath

from greennode_airflow.ui.reports import Report, find_reports, read_report
from greennode_batch.staging.folders import run_folder, write_whole
from greennode_batch.state.run_identity import note_run

PAGE = b"<h1>Hello</h1>"


def test_a_report_is_found_and_read_in_the_folder_of_its_run(airflow_root: str) -> None:
    root = ObjectStoragePath(airflow_root)
    run = run_folder(root, "tickets", "run_1", group="labels")
    assert find_reports(root, "tickets", "run_1", ["", "labels"]) == []
    note_run(run, dag_id="tickets", run_id="run_1", group="labels")
    write_whole(run.path / "page.html", PAGE)
    assert find_reports(root, "tickets", "run_1", ["", "labels"]) == [Report("labels", "page.html")]
    assert read_report(root, "tickets", "run_1", "labels", "page.html") == PAGE


@pytest.mark.parametrize(
    ("dag_id", "run_id", "group", "name"),
    [
        ("tickets", "run_1", "labels", "evaluation.html"),
        ("tickets", "run_1", "labels", "run.json"),
        ("tickets", "run_1", "labels", "../run_1/page.html"),
        ("tickets", "run_2", "labels", "page.html"),
        ("others", "run_1", "labels", "page.html"),
        ("tickets", "run_1", "", "page.html"),
    ],
)
def test_what_is_no_report_of_the_run_is_not_read(airflow_root: str, dag_id, run_id, group, name) -> None:
    root = ObjectStoragePath(airflow_root)
    run = run_folder(root, "tickets", "run_1", group="labels")
    note_run(run, dag_id="tickets", run_id="run_1", group="labels")
    write_whole(run.path / "page.html", PAGE)
    assert read_report(root, dag_id, run_id, group, name) is None
