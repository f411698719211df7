import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.run_identity import identity_of, note_run


def test_a_folder_tells_the_run_that_its_name_does_not(tmp_path):
    run = run_folder(tmp_path / "staging", "jobs and more", "manual__2026-01-01T00:00:00+00:00")
    assert identity_of(run) is None
    note_run(run, dag_id="jobs and more", run_id="manual__2026-01-01T00:00:00+00:00", conn_id="greennode_default")
    found = identity_of(run)
    assert str(found) == "jobs and more manual__2026-01-01T00:00:00+00:00"
    assert found.conn_id == "greennode_default"


def test_a_note_that_cannot_be_read_is_named(tmp_path):
    run = run_folder(tmp_path / "staging", "job", "run")
    note_run(run, dag_id="job", run_id="run")
    (run.path / "run.json").write_text("{")
    with pytest.raises(ConfigError, match=r"run\.json"):
        identity_of(run)
