import pytest
from upath import UPath

from greennode_batch.cleanup.retention import remove_run
from greennode_batch.monitor import staged_dags
from greennode_batch.monitor.staged_dags import Pipeline, StagedDags
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.run_identity import find_run, note_run


@pytest.fixture
def root(tmp_path):
    return UPath(tmp_path / "staging")


def begin(root, dag_id, *, folder=None, run_id="run_1", has="plan.json"):
    run = run_folder(root, folder or dag_id, run_id)
    note_run(run, dag_id=dag_id, run_id=run_id)
    (run.path / has).write_text("{}")
    return run


def test_a_folder_belongs_to_the_dag_that_its_runs_name_whatever_it_is_called(root):
    begin(root, "tickets")
    odd = begin(root, "dag with spaces/ünd")
    found = StagedDags(root).by_dag()
    assert set(found) == {"tickets", "dag with spaces/ünd"}
    (pipeline,) = found["dag with spaces/ünd"]
    assert pipeline.run_folder(root, "run_1").path == odd.path


def test_the_jobs_of_one_dag_are_told_apart_by_their_task_groups(root):
    begin(root, "weekly", folder="weekly.labels")
    begin(root, "weekly", folder="weekly.inner.summaries")
    found = StagedDags(root).by_dag()
    assert [pipeline.group for pipeline in found["weekly"]] == ["inner.summaries", "labels"]


def test_a_job_whose_runs_lie_in_an_old_folder_and_a_new_one_is_one_job(root):
    before = begin(root, "weekly", folder="weekly.labels")
    since = find_run(root, "weekly", "run_2", group="labels")
    note_run(since, dag_id="weekly", run_id="run_2", group="labels")
    (since.path / "plan.json").write_text("{}")
    ((pipeline,),) = StagedDags(root).by_dag().values()
    assert (pipeline.dag_id, pipeline.group) == ("weekly", "labels")
    assert [str(pipeline.run_folder(root, run_id)) for run_id in ("run_1", "run_2")] == [str(before), str(since)]
    assert before.path.parent != since.path.parent


def test_what_is_no_run_of_a_job_is_no_dag_of_ours(root):
    begin(root, "greennode_probe", has="probe.json")
    (root / ".answered-abc").mkdir()
    (root / "left" / "over").mkdir(parents=True)
    (root / "tickets" / "run_0").mkdir(parents=True)
    begin(root, "tickets", has="building.json")
    assert StagedDags(root).by_dag() == {"tickets": (Pipeline("tickets", "", "tickets"),)}


def test_a_job_whose_first_build_failed_at_once_is_one(root):
    run = run_folder(root, "tickets", "run_1")
    note_run(run, dag_id="tickets", run_id="run_1", conn_id="greennode_default", group="")
    assert set(StagedDags(root).by_dag()) == {"tickets"}


def test_no_staging_at_all_is_no_dag(root):
    assert StagedDags(root).by_dag() == {}


def test_a_new_dag_is_seen_within_seconds_and_a_removed_one_is_gone(root):
    now = [100.0]
    dags = StagedDags(root, clock=lambda: now[0])
    assert dags.by_dag() == {}
    run = begin(root, "tickets")
    now[0] += 20
    assert set(dags.by_dag()) == {"tickets"}
    run.path.parent.rename(root.parent / "elsewhere")
    now[0] += 20
    assert dags.by_dag() == {}


def test_a_dag_is_known_though_its_newest_runs_were_removed(root):
    begin(root, "daily", run_id="run_000")
    for number in range(1, 40):
        run = begin(root, "daily", run_id=f"run_{number:03}")
        (run.path / "report.json").write_text("{}")
        remove_run(run, now=0.0, is_over=lambda: True)
    assert set(StagedDags(root).by_dag()) == {"daily"}


def test_runs_that_were_removed_are_looked_at_once(root, monkeypatch):
    now, looks = [0.0], []
    real = staged_dags.fresh_names
    monkeypatch.setattr(staged_dags, "fresh_names", lambda folder: looks.append(folder.name) or real(folder))
    remove_run(begin(root, "daily"), now=0.0, is_over=lambda: True)
    dags = StagedDags(root, clock=lambda: now[0])
    for now[0] in (0.0, 100.0, 200.0):
        assert dags.by_dag() == {}
    assert looks.count("run_1") == 1
