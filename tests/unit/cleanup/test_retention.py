import os
import shutil
from pathlib import Path

import pytest
from upath import UPath

from greennode_batch.cleanup.retention import old_runs, remove_run
from greennode_batch.incremental.answer_cache import answer_cache_path
from greennode_batch.staging.folders import read_json, run_folder
from greennode_batch.state.run_identity import RemovedRun, RunIdentity, identity_of, make_again, note_run

OLD, CUT, YOUNG = 1_000_000_000.0, 1_100_000_000.0, 1_200_000_000.0
RUN_ID = "scheduled__2026-01-01T00:00:00+00:00"


def touch_all(path, when):
    for file in Path(path).rglob("*"):
        os.utime(file, (when, when))


def names_in(run):
    return sorted(str(path.relative_to(run.path.path)) for path in Path(run.path.path).rglob("*"))


@pytest.fixture
def root(tmp_path):
    return UPath(tmp_path / "staging")


@pytest.fixture
def make_old_run(root):
    """Makes a run's folder whose files are all old."""

    def make(dag_id="tickets", run_id=RUN_ID):
        run = run_folder(root, dag_id, run_id)
        note_run(run, dag_id=dag_id, run_id=run_id)
        shard = run.shard("abc").path
        shard.mkdir(parents=True)
        (shard / "requests.jsonl").write_text("x" * 1000)
        for path in (run.plan, run.report):
            path.write_text("{}")
        touch_all(run.path.path, OLD)
        return run

    return make


def found(root):
    return [old.folder.path.name for old in old_runs(root, before=CUT)]


def remove(run, *, is_over=lambda: True):
    return remove_run(run, now=YOUNG, is_over=is_over)


def test_an_old_run_is_known_by_its_true_ids_and_its_size(root, make_old_run):
    run = make_old_run()
    (old,) = old_runs(root, before=CUT)
    assert (old.folder.path, old.identity, old.written_at) == (run.path, RunIdentity("tickets", RUN_ID), OLD)
    assert old.bytes == sum(file.stat().st_size for file in Path(run.path.path).rglob("*") if file.is_file()) > 1000


def test_of_a_removed_run_the_report_stays_and_a_note_that_the_rest_is_gone(root, make_old_run):
    run = make_old_run()
    assert remove(run)
    assert names_in(run) == ["removed.json", "report.json"]
    assert read_json(run.removed, RemovedRun) == RemovedRun(removed_at=YOUNG)
    assert found(root) == [], "it is not removed again"


@pytest.mark.parametrize("name", ["plan.json", "run.json", "shards/abc/requests.jsonl"])
def test_one_young_file_keeps_a_run(root, make_old_run, name):
    run = make_old_run()
    os.utime(Path(run.path.path, name), (YOUNG, YOUNG))
    assert found(root) == []


def test_a_run_that_is_begun_again_is_young(root, make_old_run):
    run = make_old_run()
    note_run(run, dag_id="tickets", run_id=RUN_ID)
    assert found(root) == []


def test_what_has_no_run_json_is_left_alone(root, make_old_run):
    make_old_run("tickets", "one")
    (root / "tickets" / "one" / "run.json").unlink()
    (root / "README").write_text("a file of somebody's")
    (root / "notes" / "mine").mkdir(parents=True)
    (root / "notes" / "file").write_text("x")
    (root / "notes" / "mine" / "file").write_text("x")
    touch_all(root.path, OLD)
    assert found(root) == []


def test_the_note_of_what_is_answered_is_no_run_and_outlives_the_runs(root, make_old_run):
    run = make_old_run()
    note = answer_cache_path(run, "answers")
    note.write_text("x")
    touch_all(root.path, OLD)
    (old,) = old_runs(root, before=CUT)
    assert remove(old.folder)
    assert note.exists()


def test_a_copy_of_a_run_is_left_alone(root, make_old_run):
    run = make_old_run("tickets", "one")
    shutil.copytree(run.path.path, f"{run.path.path}-before-the-migration")
    touch_all(root.path, OLD)
    assert found(root) == ["one"]


def test_a_note_that_cannot_be_read_is_said_and_does_not_hide_the_others(root, make_old_run, caplog):
    broken = make_old_run("tickets", "broken")
    make_old_run("tickets", "whole")
    (broken.path / "run.json").write_text("{")
    touch_all(root.path, OLD)
    assert found(root) == ["whole"]
    assert "broken/run.json" in caplog.text


def test_a_staging_area_that_is_not_there_yet_holds_no_run(root):
    assert found(root) == []


def test_a_run_that_is_begun_again_at_the_last_moment_stays_whole(make_old_run):
    run = make_old_run()
    before = names_in(run)
    seen = []

    def is_over():
        seen.append(run.removed.exists() and run.plan.exists())
        return False

    assert not remove(run, is_over=is_over)
    assert seen == [True], "asked when removed.json is there, and while everything else is"
    assert names_in(run) == before


def test_a_run_of_which_nothing_can_be_told_stays_whole(make_old_run):
    run = make_old_run()
    before = names_in(run)

    def is_over():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        remove(run, is_over=is_over)
    assert names_in(run) == before


def test_a_removal_that_was_stopped_is_ended_by_the_next(root, make_old_run, monkeypatch):
    run = make_old_run()

    def stop(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("greennode_batch.cleanup.retention.remove_tree", stop)
    with pytest.raises(KeyboardInterrupt):
        remove(run)
    monkeypatch.undo()
    # removed.json is of now, and does not make the run young.
    assert found(root) == [run.path.name]
    shutil.rmtree(run.shards.path)
    assert not remove(run, is_over=lambda: False)
    assert run.removed.exists(), "half of the run is gone, so the note stays"
    assert remove(run)
    assert names_in(run) == ["removed.json", "report.json"]


def test_the_note_whose_run_it_is_goes_last(root, make_old_run, monkeypatch):
    run = make_old_run()
    removed = []
    monkeypatch.setattr("greennode_batch.cleanup.retention.remove_tree", lambda path: removed.append(path.name))
    remove(run)
    assert removed[-1] == "run.json"
    assert sorted(removed) == ["plan.json", "run.json", "shards"]


def test_a_file_of_unknown_age_keeps_a_run(make_old_run):
    store = UPath("memory://retention-test")
    run = run_folder(store, "tickets", "one")
    note_run(run, dag_id="tickets", run_id="one")
    assert list(old_runs(store, before=YOUNG * 10)) == []


def test_a_run_that_was_made_again_is_old_when_both_its_folders_are(root, make_old_run):
    first = make_old_run()
    again = make_again(first, identity_of(first), began_at=OLD)
    assert found(root) == []
    touch_all(again.path.path, OLD)
    touch_all(first.path.path, OLD)
    assert found(root) == [first.path.name, again.path.name]
    touch_all(again.path.path, YOUNG)
    assert found(root) == [], "the first leads to the other"
