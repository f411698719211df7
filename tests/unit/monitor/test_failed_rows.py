from pathlib import Path

import pytest

from greennode_batch.monitor.failed_rows import SHOWN_ROWS, failed_rows
from greennode_batch.state.stops import Stop, failing_path, note_stop

HOSTILE = "<img src=x onerror=alert(1)>"


def texts(count):
    return [(f"t{number}", f"text {number}") for number in range(count)]


def failed(scene, **options):
    return failed_rows(scene.run, scene.staged(), **options)


def test_the_first_rows_are_shown_with_key_and_reason_and_all_are_counted(make_scene, emulator):
    scene = make_scene(texts(60), per_shard=30)
    emulator.faults([{"kind": "line_error", "status": 400}])
    scene.submit()
    scene.collect()
    found = failed(scene)
    assert found.key == ("ticket",)
    assert [row.key for row in found.rows] == [(f"t{number}",) for number in range(SHOWN_ROWS)]
    assert {row.status for row in found.rows} == {"failed"}
    assert all("400" in row.error for row in found.rows)
    assert [(reason.status, reason.rows) for reason in found.reasons] == [("failed", 60)]
    assert (found.searched, found.left, found.problem) == (2, 0, None)


def test_why_nothing_more_is_sent_is_shown_with_samples(make_scene, emulator):
    scene = make_scene(texts(2), per_shard=2)
    scene.submit()
    assert failed(scene).stops == ()
    (shard,) = scene.staged().shards
    folder = scene.run.shard(shard.shard_id)
    stop = Stop("systematic_failure", shard.model, shard.shard_id, 1, "the reason", ("a sample",), 0.0)
    note_stop(failing_path(folder, shard.model), stop)
    assert failed(scene).stops == (stop,)


def test_reasons_are_told_apart_and_can_be_asked_for_by_status(make_scene, emulator):
    scene = make_scene(texts(20), per_shard=20)
    emulator.faults([{"kind": "line_error", "status": 400, "count": 3}, {"kind": "cut_off", "count": 5}])
    scene.submit()
    scene.collect()
    assert [(reason.status, reason.rows) for reason in failed(scene).reasons] == [("truncated", 5), ("failed", 3)]
    assert {row.status for row in failed(scene, status="truncated").rows} == {"truncated"}


def test_a_run_where_all_is_well_reads_no_row(make_scene):
    scene = make_scene(texts(5))
    scene.submit()
    scene.collect()
    found = failed(scene)
    assert (found.rows, found.reasons, found.searched) == ((), (), 0)


def test_rows_that_cannot_be_sent_are_shown_as_well(make_scene):
    scene = make_scene([("empty", " "), ("full", "text")])
    scene.submit()
    scene.collect()
    (row,) = failed(scene).rows
    assert (row.key, row.status) == (("empty",), "unsent")


def test_keys_are_text_as_they_are_and_long_ones_are_cut(make_scene, emulator):
    scene = make_scene([(HOSTILE, "a"), ("x" * 1000, "b")])
    emulator.faults([{"kind": "line_error", "status": 400}])
    scene.submit()
    scene.collect()
    first, second = (row.key[0] for row in failed(scene).rows)
    assert first == HOSTILE
    assert second == "x" * 300 + "…"


def test_time_is_bounded_and_what_was_not_looked_through_is_said(make_scene, emulator):
    scene = make_scene(texts(30))
    emulator.faults([{"kind": "line_error", "status": 400}])
    scene.submit()
    scene.collect()
    ticks = iter(range(0, 1000, 3))
    found = failed(scene, clock=lambda: next(ticks))
    assert (found.searched, found.left) == (1, 2)


def test_files_that_are_gone_are_a_problem_in_words(make_scene, emulator):
    scene = make_scene(texts(3))
    emulator.faults([{"kind": "line_error", "status": 400}])
    scene.submit()
    scene.collect()
    scene.shards[0].source.unlink()
    found = failed(scene)
    assert found.rows == ()
    assert "source.parquet" in found.problem


def test_a_row_of_one_model_and_sample_is_told_from_its_others(make_scene, emulator):
    scene = make_scene(texts(2), model=("google/gemma-4-31b-it", "zai/glm-5.2"), samples=2)
    emulator.faults([{"kind": "line_error", "status": 400}])
    scene.submit()
    scene.collect()
    found = failed(scene)
    assert found.key == ("ticket", "model", "sample")
    assert len({row.key for row in found.rows}) == len(found.rows) == 2 * 2 * 2
    assert {row.key[2] for row in found.rows} == {"1", "2"}


@pytest.mark.parametrize("name", ["source.1.parquet", "results.parquet"])
@pytest.mark.parametrize("damage", ["cut", "empty", "middle", "garbage"])
def test_a_damaged_file_is_named_and_the_rest_is_shown(name, damage, make_scene, emulator):
    scene = make_scene(texts(60), per_shard=30)
    emulator.faults([{"kind": "line_error", "status": 400}])
    scene.submit()
    scene.collect()
    path = min(Path(scene.run.path.path).rglob(name))
    data = path.read_bytes()
    middle = data[:4] + b"\xff" * (len(data) // 2) + data[4 + len(data) // 2 :]
    path.write_bytes({"cut": data[:-20], "empty": b"", "middle": middle, "garbage": b"x" * 500}[damage])
    found = failed(scene)
    assert str(path) in found.problem
    assert "damaged" in found.problem
    assert sum(reason.rows for reason in found.reasons) >= 30
    assert found.searched == 2
