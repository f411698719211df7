import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from upath import UPath

from greennode_batch.staging import exclusive
from greennode_batch.staging.exclusive import create_exclusive, honours_conditions
from greennode_batch.staging.folders import fresh_names, read_json

PROJECT = Path(__file__).parents[2]
CONTENDERS = 8

# Each text is written by a process of its own; they are forked from one, for its imports take seconds.
WORKERS = """
import json, multiprocessing, sys
import s3fs
from upath import UPath
from greennode_batch.staging import exclusive

def create(text):
    mine = UPath(path, **options)
    exclusive.honours_conditions(mine)
    barrier.wait()
    return exclusive.create_exclusive(mine, {"text": text})

context = multiprocessing.get_context("fork")
for line in sys.stdin:
    path, options, exclusive.SETTLE_SECONDS, texts = json.loads(line)
    barrier = context.Barrier(len(texts))
    with context.Pool(len(texts)) as pool:
        print(json.dumps(pool.map(create, texts, chunksize=1)), flush=True)
"""


Compete = Callable[[UPath, list[str]], list[bool]]


class Note(msgspec.Struct):
    text: str


def compete(path: UPath, texts: list[str]) -> list[bool]:
    barrier = threading.Barrier(len(texts))

    def create(text: str) -> bool:
        mine = UPath(str(path), **path.storage_options)
        barrier.wait()
        return create_exclusive(mine, Note(text))

    with ThreadPoolExecutor(len(texts)) as pool:
        return list(pool.map(create, texts))


def candidate(path: UPath, text: str, token: str) -> exclusive._Candidate:
    """A worker that has put its candidate. The store dates by whole seconds; the token makes sure who is elected."""
    made = exclusive._Candidate(path, msgspec.json.encode(Note(text)))
    made._name = f"{path.name}.{token * 32}"
    made._put(made._name, made._data)
    return made


@pytest.fixture
def path(rclone, make_bucket) -> UPath:
    """A file's place in the store that ignores conditional puts."""
    return make_bucket(rclone) / "shard" / "claim.json"


@pytest.fixture(scope="module")
def workers() -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "include")}
    with subprocess.Popen(
        [sys.executable, "-c", WORKERS], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture(params=["threads", "processes"])
def compete_by(request, store) -> Compete:
    if request.param == "threads":
        return compete
    if store.scheme != "s3":
        pytest.skip("eight processes that load Google's or Azure's library take minutes; the server decides alone")
    process = request.getfixturevalue("workers")

    def compete_in_processes(path: UPath, texts: list[str]) -> list[bool]:
        command = [str(path), dict(path.storage_options), exclusive.SETTLE_SECONDS, texts]
        print(json.dumps(command), file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())

    return compete_in_processes


def test_of_many_who_create_one_file_exactly_one_wins(bucket, compete_by):
    path = bucket / "shard" / "claim.json"
    texts = [str(number) for number in range(CONTENDERS)]
    won = compete_by(path, texts)
    assert won.count(True) == 1
    assert read_json(path, Note) == Note(texts[won.index(True)])
    assert fresh_names(path.parent) == ["claim.json"]


def test_a_file_that_is_there_is_not_made_again_and_nothing_is_waited_for(bucket, monkeypatch):
    path = bucket / "claim.json"
    assert create_exclusive(path, Note("first"))
    slept = []
    monkeypatch.setattr(exclusive.time, "sleep", slept.append)
    assert not create_exclusive(path, Note("second"))
    assert slept == []
    assert read_json(path, Note) == Note("first")


def test_the_self_test_tells_the_stores_apart_and_leaves_nothing(store, bucket, caplog):
    with caplog.at_level(logging.WARNING, logger="greennode_batch.staging.exclusive"):
        told = [honours_conditions(bucket / "shard" / name) for name in ("a.json", "b.json")]
    assert told == [store.honours_conditions] * 2
    assert len(caplog.messages) == (0 if store.honours_conditions else 1)
    assert all("ignores conditional puts" in message for message in caplog.messages)
    assert fresh_names(bucket / "shard") == []


def test_a_store_that_does_not_say_which_condition_failed_is_understood(terse, make_bucket):
    path = make_bucket(terse) / "claim.json"
    assert honours_conditions(path)
    won = compete(path, ["a", "b", "c", "d"])
    assert won.count(True) == 1
    assert read_json(path, Note) == Note("abcd"[won.index(True)])


def test_a_file_that_a_person_removed_can_be_made_again(bucket):
    path = bucket / "shard" / "receipt.json"
    assert create_exclusive(path, Note("first"))
    path.unlink()
    assert create_exclusive(path, Note("second"))
    assert read_json(path, Note) == Note("second")


def test_a_worker_killed_before_it_put_its_file_blocks_nobody_and_stays_elected(path):
    candidate(path, "dead", token="0")
    assert compete(path, ["a", "b"]) == [False, False]
    assert read_json(path, Note) == Note("dead")
    assert fresh_names(path.parent) == ["claim.json"]


def test_a_killed_worker_that_was_not_elected_changes_nothing(path):
    candidate(path, "first", token="0")
    candidate(path, "dead", token="1")
    assert not create_exclusive(path, Note("late"))
    assert read_json(path, Note) == Note("first")


def test_an_elected_worker_that_was_given_up_is_told_that_it_did_not_make_the_file(path):
    slow = candidate(path, "slow", token="0")
    assert not create_exclusive(path, Note("quick"))
    assert not slow._settle()
    assert read_json(path, Note) == Note("slow")


def test_a_worker_that_looks_while_the_elected_one_finishes_is_not_elected_after_it(path):
    first, late = candidate(path, "first", token="0"), candidate(path, "late", token="1")
    told = []
    poll = late._elected

    def look_late():
        told.append(first._settle())
        first._remove(first._name)
        return poll()

    late._elected = look_late
    assert not late._settle()
    assert told == [True]
    assert read_json(path, Note) == Note("first")


def test_a_folder_that_is_removed_meanwhile_is_named(path):
    lost = candidate(path, "lost", token="0")
    lost._remove(lost._name)
    with pytest.raises(FileNotFoundError, match=r"claim\.json: the store does not list the candidate"):
        lost._settle()
