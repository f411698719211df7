import errno
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from greennode_batch.batches.submit import submit
from greennode_batch.collect.collect import collect_shard
from greennode_batch.errors import ConfigError
from greennode_batch.staging import exclusive
from greennode_batch.staging.exclusive import check_exclusive, create_exclusive
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


@pytest.fixture(params=["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL"])
def without_links(monkeypatch, request, tmp_path):
    """A file system that has no hard links, as SMB and FUSE say it; the emulator's is another one."""
    code, real = getattr(errno, request.param), os.link

    def link(source, target, **options):
        if not str(target).startswith(str(tmp_path)):
            return real(source, target, **options)
        raise OSError(code, os.strerror(code), source, None, target)

    monkeypatch.setattr(os, "link", link)


@pytest.fixture(params=["EINVAL", "ENOSYS"])
def without_renames(monkeypatch, request):
    """One that cannot rename without replacing either, or an old kernel."""
    monkeypatch.setattr(exclusive, "_rename_noreplace", lambda *_: getattr(errno, request.param))


def test_without_hard_links_one_worker_of_many_makes_a_file_and_it_is_whole(without_links, tmp_path):
    path = UPath(tmp_path) / "claim.json"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: create_exclusive(path, {"by": n, "words": "x" * 10_000}), range(32)))
    assert made.count(True) == 1
    assert json.loads(path.read_bytes())["by"] == made.index(True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["claim.json"]


def test_without_hard_links_a_run_is_built_sent_and_collected(without_links, make_shard, client, emulator, ended):
    shard = make_shard("a", "b")
    ended(shard)
    submit(shard, client)
    assert collect_shard(shard, client, None) == {"succeeded": 2}
    assert emulator.ledger()["batches_created"] == 1


def test_a_file_system_that_cannot_hold_staging_is_refused_at_build(without_links, without_renames, make_run, tmp_path):
    words = rf"{tmp_path}.*neither hard links nor renames.*Nothing was sent.*\[greennode\] staging"
    with pytest.raises(ConfigError, match=words):
        make_run(("id", "text"), [(1, "a")])
    assert not list(tmp_path.rglob("requests.jsonl"))


def test_one_that_replaces_what_is_there_is_refused_as_well(without_links, monkeypatch, tmp_path):
    monkeypatch.setattr(exclusive, "_rename_noreplace", lambda made, local: made.replace(local) and 0)
    with pytest.raises(ConfigError, match="both created the same file"):
        check_exclusive(UPath(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_another_failure_of_the_disk_is_not_taken_for_want_of_links(monkeypatch, tmp_path):
    def link(source, target, **_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="No space left"):
        create_exclusive(UPath(tmp_path) / "claim.json", {})
