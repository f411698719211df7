from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from upath import UPath

from greennode_local.local_error import LocalError
from greennode_local.object_store import ObjectStore, running_object_store
from greennode_local.processes import members_of


def run(home: Path):
    return running_object_store(home / "objects", log=home / "objects.log", home=home)


@pytest.fixture
def store(home: Path) -> Iterator[ObjectStore]:
    with run(home) as running:
        yield running


def test_what_is_put_is_a_file_in_the_folder_of_its_bucket(store: ObjectStore) -> None:
    (store.make_bucket("staging") / "run" / "plan.json").write_text("{}")
    assert (store.folder / "staging" / "run" / "plan.json").read_text() == "{}"


def test_files_outlive_a_stop_and_are_served_on_the_same_address(store: ObjectStore) -> None:
    path = store.make_bucket("staging") / "plan.json"
    path.write_text("{}")
    options = dict(store.storage_options)
    store.stop()
    assert not members_of(store.home)
    store.start()
    assert store.storage_options == options
    assert path.read_text() == "{}"
    assert store.make_bucket("staging").joinpath("plan.json").exists()


def test_files_outlive_the_server(home: Path) -> None:
    with run(home) as first:
        (first.make_bucket("staging") / "plan.json").write_text("{}")
    assert not members_of(home)
    with run(home) as second:
        assert (second.make_bucket("staging") / "plan.json").read_text() == "{}"


def test_it_listens_on_the_loopback_address_and_wants_the_secret(store: ObjectStore) -> None:
    process = psutil.Process(store.service.process.pid)
    assert [c.laddr for c in process.net_connections() if c.status == "LISTEN"] == [("127.0.0.1", store.port)]
    store.make_bucket("staging").joinpath("plan.json").write_text("{}")
    stranger = UPath("s3://staging/plan.json", **{**store.storage_options, "secret": "another secret"})
    with pytest.raises(PermissionError):
        stranger.read_text()
    assert store.secret not in repr(store)
    assert store.secret not in " ".join(process.cmdline())


def test_a_second_start_is_refused_and_a_second_stop_does_nothing(store: ObjectStore) -> None:
    with pytest.raises(LocalError, match="started already"):
        store.start()
    store.stop()
    store.stop()


def test_a_port_that_another_server_has_is_not_taken_for_its_own(store: ObjectStore) -> None:
    other = ObjectStore(folder=store.folder, log=store.home / "other.log", home=store.home, port=store.port)
    with pytest.raises(LocalError, match=f"port {store.port} of 127.0.0.1 is taken"):
        other.start()


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    with pytest.raises(LocalError, match=r"object store ended early(.|\n)*auth"):
        ObjectStore(folder=home, log=home / "objects.log", home=home, key="a,b").start()
