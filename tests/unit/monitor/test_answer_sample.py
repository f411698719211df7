from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from greennode_batch.monitor.answer_sample import SHOWN_ANSWERS, answer_sample
from greennode_batch.staging.folders import ShardFolder


class Label(BaseModel):
    category: Literal["a", "b"]
    urgency: int


def texts(count):
    return [(f"t{number}", f"text {number}") for number in range(count)]


def sample(scene, **options):
    return answer_sample(scene.run, scene.staged(), **options)


def test_the_first_rows_with_an_answer_are_shown_by_key(make_scene, emulator):
    scene = make_scene(texts(60), per_shard=30)
    emulator.faults([{"kind": "line_error", "status": 400, "count": 2}])
    scene.submit()
    scene.collect()
    found = sample(scene)
    assert (found.key, found.columns, found.problem) == (("ticket",), ("answer",), None)
    assert len(found.rows) == SHOWN_ANSWERS
    assert all(row.values[0] for row in found.rows)


def test_a_typed_answer_has_a_column_for_each_field(make_scene):
    scene = make_scene(texts(3), answer=Label)
    scene.submit()
    scene.collect()
    found = sample(scene)
    assert found.columns == ("category", "urgency")
    assert {row.values[0] for row in found.rows} <= {"a", "b"}


def test_before_anything_is_collected_there_is_nothing_to_show(make_scene):
    scene = make_scene(texts(3))
    assert sample(scene).rows == ()
    scene.submit()
    assert sample(scene).rows == ()


def test_time_is_bounded(make_scene):
    scene = make_scene(texts(30))
    scene.submit()
    scene.collect()
    ticks = iter(range(0, 1000, 3))
    assert len(sample(scene, clock=lambda: next(ticks)).rows) == SHOWN_ANSWERS
    ticks = iter(range(0, 1000, 5))
    assert sample(scene, clock=lambda: next(ticks)).rows == ()


def test_a_file_that_is_damaged_is_a_problem_in_words_and_others_are_shown(make_scene):
    scene = make_scene(texts(60), per_shard=30)
    scene.submit()
    scene.collect()
    Path(ShardFolder(scene.shards[0].path).results.path).write_bytes(b"x" * 500)
    found = sample(scene)
    assert found.problem
    assert len(found.rows) == SHOWN_ANSWERS
