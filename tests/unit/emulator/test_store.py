import pytest

from greennode_emulator.records import FileRecord, Purpose
from greennode_emulator.store import StateInUseError, Store


def make_file(name, **more):
    return FileRecord(id=name, filename="x", purpose=Purpose.INPUT, bytes=1, created_at=1.0, **more)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


def test_records_survive_a_restart(tmp_path):
    store = Store(tmp_path)
    store.files.add(make_file("a"))
    store.close()
    again = Store(tmp_path)
    assert again.files.get("a") == make_file("a")
    again.close()


def test_a_failed_transaction_leaves_nothing(store):
    def add_and_fail():
        with store.transaction():
            store.files.add(make_file("a"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        add_and_fail()
    assert store.files.get("a") is None


def test_pages_are_newest_first_and_meet_end_to_end(store):
    for name in "abcde":
        store.files.add(make_file(name))
    first, more = store.files.newest(limit=2)
    assert ([one.id for one in first], more) == (["e", "d"], True)
    second, more = store.files.newest(limit=3, after="d")
    assert ([one.id for one in second], more) == (["c", "b", "a"], False)


def test_a_page_after_an_unknown_record_is_an_error(store):
    with pytest.raises(KeyError):
        store.files.newest(limit=2, after="x")


def test_an_update_keeps_the_place_in_the_order(store):
    store.files.add(make_file("a"))
    store.files.add(make_file("b"))
    store.files.update("a", lambda _: FileRecord(id="a", filename="y", purpose="batch", bytes=2, created_at=1.0))
    assert [(one.id, one.filename) for one in store.files.newest(limit=9)[0]] == [("b", "x"), ("a", "y")]


def test_an_update_of_nothing_makes_nothing(store):
    assert store.files.update("a", lambda record: record) is None


def test_two_servers_cannot_share_a_folder(store, tmp_path):
    with pytest.raises(StateInUseError):
        Store(tmp_path)


def test_a_page_may_begin_anywhere(store):
    for name in "abcde":
        store.files.add(make_file(name))
    records, more = store.files.newest(limit=2, skip=3)
    assert ([one.id for one in records], more) == (["b", "a"], False)
    assert store.files.count() == 5
