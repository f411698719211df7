import json
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from greennode_batch.staging.exclusive import create_exclusive
from greennode_batch.staging.folders import read_json


class Note(msgspec.Struct):
    text: str


def test_of_many_who_create_one_file_exactly_one_wins(tmp_path):
    barrier = threading.Barrier(16)

    def create(number):
        barrier.wait()
        return create_exclusive(UPath(tmp_path) / "claim.json", Note(str(number)))

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert sum(won) == 1
    assert read_json(UPath(tmp_path) / "claim.json", Note) == Note(str(won.index(True)))
    assert [left.name for left in tmp_path.iterdir()] == ["claim.json"]


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_the_first_value_stays_whole_whatever_comes_after_it(tmp_path_factory, texts):
    path = UPath(tmp_path_factory.mktemp("staging")) / "new folder" / "claim.json"
    assert [create_exclusive(path, Note(text)) for text in texts] == [True, *[False] * (len(texts) - 1)]
    assert read_json(path, Note) == Note(texts[0])


def test_a_file_that_was_removed_may_be_made_again(tmp_path):
    path = UPath(tmp_path) / "claim.json"
    assert create_exclusive(path, Note("one"))
    path.unlink()
    assert create_exclusive(path, Note("two"))
    assert json.loads(path.read_text()) == {"text": "two"}
