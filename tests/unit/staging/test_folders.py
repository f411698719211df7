import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import (
    land,
    read_json,
    remove_work_folders,
    run_folder,
    safe_name,
    version_in,
    work_folder,
    write_json,
    written_at,
)


class Note(msgspec.Struct):
    text: str


@given(st.text(), st.text())
def test_different_ids_never_share_a_folder(one, other):
    assert (safe_name(one) == safe_name(other)) == (one == other)


@given(st.text())
def test_a_name_is_one_folder_that_stays_where_it_is_put(text):
    name = safe_name(text)
    assert name
    assert name not in {".", ".."}
    assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
    assert len(name) <= 113


IDS = st.text("ab.+-_é", max_size=6)


@given(st.tuples(IDS, st.none() | IDS), st.tuples(IDS, st.none() | IDS))
@example(("a.b", None), ("a", "b"))
@example(("a", "b.c"), ("a.b", "c"))
@example(("a", None), ("a", ""))
def test_different_jobs_never_share_a_folder(one, other):
    folders = [str(run_folder("/staging", dag_id, "run", group=group)) for dag_id, group in (one, other)]
    assert (folders[0] == folders[1]) == (one == other)


def test_a_name_that_looks_like_one_that_was_changed_is_changed_itself():
    assert safe_name(safe_name("a b")) != safe_name("a b")


def test_a_run_id_of_airflow_keeps_its_readable_part(tmp_path):
    run = run_folder(tmp_path, "support_tickets", "manual__2026-01-01T00:00:00+00:00")
    assert run.path.name.startswith("manual__2026-01-01T00_00_00_00_00-")
    assert run.path.parent == UPath(tmp_path) / "support_tickets"


def test_a_file_lands_in_the_place_of_the_old_one(tmp_path):
    made, index = tmp_path / "made", UPath(tmp_path) / "new folder" / "file"
    for content in ("old", "new"):
        made.write_text(content)
        land(made, index)
        assert index.read_text() == content
        assert not made.exists()


def test_readers_see_the_old_json_or_the_new_one_never_a_part(tmp_path):
    path = UPath(tmp_path) / "note.json"
    write_json(path, Note("x" * 100_000))
    seen, begun, stop = [], threading.Event(), threading.Event()

    def read():
        while not stop.is_set():
            note = read_json(path, Note)
            seen.append(len(note.text))
            begun.set()

    with ThreadPoolExecutor() as pool:
        reader = pool.submit(read)
        begun.wait()
        for length in (1, 200_000) * 20:
            write_json(path, Note("y" * length))
        stop.set()
        reader.result()
    assert seen
    assert set(seen) <= {1, 100_000, 200_000}
    assert [left.name for left in tmp_path.iterdir()] == ["note.json"]


def test_a_json_file_that_is_not_there_is_none_and_one_that_is_broken_is_named(tmp_path):
    path = UPath(tmp_path) / "receipt.json"
    assert read_json(path, Note) is None
    for content in ("", "{", json.dumps({"text": 5})):
        path.write_text(content)
        with pytest.raises(ConfigError, match=r"receipt\.json: does not have the expected content"):
            read_json(path, Note)


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "note.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_json(UPath(tmp_path) / "note.json", Note("x"))
    assert [left.name for left in tmp_path.iterdir()] == ["note.json"]


def test_work_folders_of_killed_processes_are_removed_and_nothing_else(tmp_path):
    with work_folder(UPath(tmp_path)) as work:
        assert Path(work).parent == tmp_path
        (Path(work) / "half").touch()
        (tmp_path / "plan.json").touch()
        remove_work_folders(UPath(tmp_path))
        assert [left.name for left in tmp_path.iterdir()] == ["plan.json"]
        Path(work).mkdir()


def test_a_build_that_wakes_late_leaves_the_work_folders_of_later_ones_and_of_other_steps(tmp_path):
    near = UPath(tmp_path)
    with work_folder(near, turn=9) as earlier, work_folder(near, turn=10) as later, work_folder(near) as other:
        remove_work_folders(near, before=9)
        assert len(list(tmp_path.iterdir())) == 3
        remove_work_folders(near, before=10)
        assert {str(left) for left in tmp_path.iterdir()} == {later, other}
        Path(earlier).mkdir()


def test_an_object_store_takes_the_same_calls(tmp_path):
    folder = UPath("memory://staging-test")
    made = tmp_path / "made"
    made.write_text("content")
    land(made, folder / "file")
    assert (folder / "file").read_text() == "content"
    write_json(folder / "note.json", Note("x"))
    assert read_json(folder / "note.json", Note) == Note("x")


@pytest.mark.parametrize("run_id", ["run", "20240131", "scheduled__2024-01-31T00:00:00+00:00"])
@pytest.mark.parametrize("attempt", [1, 2, 13])
def test_a_shard_knows_its_run_and_attempt_by_where_it_lies(tmp_path, run_id, attempt):
    run = run_folder(tmp_path, "dag", run_id)
    shard = run.shard("abc", attempt=attempt)
    assert (str(shard.run), shard.attempt) == (str(run), attempt)


WHEN = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("info", "when"),
    [
        ({"mtime": 1796040000.0}, WHEN.timestamp()),
        ({"mtime": WHEN, "updated": "2026-11-30T12:00:00Z"}, WHEN.timestamp()),  # Google's store
        ({"LastModified": WHEN}, WHEN.timestamp()),  # S3
        ({"last_modified": WHEN, "mtime": None}, WHEN.timestamp()),  # Azure
        ({}, math.inf),
    ],
)
def test_a_files_time_is_found_whatever_its_store_calls_it(info, when):
    assert written_at(info) == when


@pytest.mark.parametrize("name", ["ETag", "etag"])
def test_a_file_of_the_same_time_and_size_is_another_version_by_its_etag(name):
    one, other = ({name: etag, "LastModified": WHEN, "size": 3} for etag in ("a", "b"))
    assert version_in(one) == version_in(dict(one))
    assert version_in(one) != version_in(other)
