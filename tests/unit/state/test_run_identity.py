import pytest
from upath import UPath

from greennode_batch.cleanup.retention import remove_run
from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.run_identity import find_run, identity_of, note_run


def test_a_folder_tells_the_run_that_its_name_does_not(tmp_path):
    run = run_folder(tmp_path / "staging", "jobs and more", "manual__2026-01-01T00:00:00+00:00")
    assert identity_of(run) is None
    note_run(run, dag_id="jobs and more", run_id="manual__2026-01-01T00:00:00+00:00", conn_id="greennode_default")
    found = identity_of(run)
    assert str(found) == "jobs and more manual__2026-01-01T00:00:00+00:00"
    assert found.conn_id == "greennode_default"


def test_a_task_beside_the_pipeline_leaves_what_was_noted_before(tmp_path):
    run = run_folder(tmp_path / "staging", "job", "run")
    note_run(run, dag_id="job", run_id="run", conn_id="greennode_default", group="", is_dry_run=True)
    note_run(run, dag_id="job", run_id="run", group="")
    found = identity_of(run)
    assert (found.conn_id, found.is_dry_run) == ("greennode_default", True)
    note_run(run, dag_id="job", run_id="run", conn_id="another", group="", is_dry_run=False)
    found = identity_of(run)
    assert (found.conn_id, found.is_dry_run) == ("another", False)


def test_a_note_that_cannot_be_read_is_named(tmp_path):
    run = run_folder(tmp_path / "staging", "job", "run")
    note_run(run, dag_id="job", run_id="run")
    (run.path / "run.json").write_text("{")
    with pytest.raises(ConfigError, match=r"run\.json"):
        identity_of(run)


# Jobs that earlier versions gave one folder: a DAG with a dot in its id, and groups of shorter ids.
ALIKE = [("a.b.c", ""), ("a", "b.c"), ("a.b", "c")]


@pytest.fixture
def root(tmp_path):
    return UPath(tmp_path / "staging")


def begin(root, dag_id, group):
    run = find_run(root, dag_id, "daily", group=group)
    note_run(run, dag_id=dag_id, run_id="daily", group=group)
    return str(run)


@pytest.mark.parametrize("order", [ALIKE, ALIKE[::-1]])
def test_no_two_jobs_share_a_folder_whichever_began_first(root, order):
    begun = [begin(root, *job) for job in order]
    assert len(set(begun)) == len(ALIKE)
    assert [begin(root, *job) for job in order] == begun, "each run stays where it is"


@pytest.mark.parametrize("mine", ALIKE)
def test_a_run_that_began_under_its_old_name_stays_there_and_others_of_that_name_do_not(root, mine):
    earlier = run_folder(root, "a.b.c", "daily")
    note_run(earlier, dag_id=mine[0], run_id="daily")
    begun = {job: begin(root, *job) for job in ALIKE}
    assert begun[mine] == str(earlier)
    assert len(set(begun.values())) == len(ALIKE)
    assert find_run(root, mine[0], "another day", group=mine[1]).path.parent != earlier.path.parent or not mine[1]


def test_a_run_that_retention_has_emptied_under_its_old_name_is_found_there(root):
    earlier = run_folder(root, "weekly.labels", "daily")
    note_run(earlier, dag_id="weekly", run_id="daily")
    remove_run(earlier, now=0.0, is_over=lambda: True)
    assert str(find_run(root, "weekly", "daily", group="labels")) == str(earlier)
