"""Datasets in object stores: by the engine's own paths, and by Airflow's with a connection."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from airflow.sdk import ObjectStoragePath
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.incremental.answered import ANSWERED
from greennode_batch.incremental.target_lookup import LookupRows
from greennode_batch.reconcile.written_files import DatasetRows
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.tables.fingerprint import fingerprint
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.file_lookup import file_lookup, remove_replaced

NewFolder = Callable[[], UPath]
SCHEMA = pa.schema([("id", pa.int64()), ("topic", pa.string()), ("custom_id", pa.string()), ("status", pa.string())])


def rows_of(*rows: tuple[int, str | None]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"id": number, "topic": topic, "custom_id": "c", "status": "succeeded"} for number, topic in rows], SCHEMA
    )


@pytest.fixture(params=["upath", "airflow"])
def new_folder(request: pytest.FixtureRequest, bucket: UPath) -> NewFolder:
    """The dataset's folder, as each worker opens it anew."""
    if request.param == "upath":
        return lambda: UPath(f"{str(bucket).rstrip('/')}/staging/answers", **bucket.storage_options)
    root = request.getfixturevalue("airflow_root")
    return lambda: ObjectStoragePath(f"{root}/answers/")


@pytest.fixture
def make(new_folder: NewFolder, tmp_path):
    def dataset(run_id="run"):
        return Dataset(new_folder(), run_folder(tmp_path, "dag", run_id), partition_by=("topic",))

    return dataset


def in_bucket(new_folder: NewFolder) -> list[tuple[int, str | None]]:
    """What another reader makes of the folder."""
    folder = new_folder()
    table = ds.dataset(folder.path.rstrip("/"), filesystem=folder.fs, partitioning="hive").to_table()
    return sorted(zip(table["id"].to_pylist(), table["topic"].to_pylist(), strict=True))


def test_shards_are_written_read_back_and_replaced(make, new_folder):
    make().prepare(SCHEMA)
    assert make().files() == []
    rows = [(1, "a/b c"), (2, "tiếng Việt"), (3, None)]
    first = make().write([rows_of(*rows)], "shard1")
    make("another").write([rows_of((9, "a/b c"))], "shard1")
    assert in_bucket(new_folder) == [*rows, (9, "a/b c")]
    assert fingerprint(DatasetRows(make()).batches(SCHEMA.remove(1)), ("id",)) == fingerprint([rows_of(*rows)], ("id",))

    second = make().write([rows_of((1, "b"), (2, "tiếng Việt"), (3, "b"))], "shard1", replaces=first)
    assert in_bucket(new_folder) == [(1, "b"), (2, "tiếng Việt"), (3, "b"), (9, "a/b c")]
    assert make().files() == sorted(second)
    make().remove(second[0])
    make().remove(second[0])
    assert make().files() == [second[1]]


def test_what_earlier_runs_answered_is_found_and_replaced_rows_go(make, new_folder):
    def answered(*rows: tuple[int, str], run_id: str) -> pa.Table:
        table = rows_of(*rows)
        own = {"run_id": run_id, "greennode_job": "job", "greennode_order": run_id}
        for name, value in own.items():
            table = table.append_column(name, pa.repeat(pa.scalar(value), table.num_rows))
        return table.append_column("completed_at", pa.nulls(table.num_rows, pa.timestamp("us", tz="UTC")))

    make("1").write([answered((1, "a"), (2, "a"), (3, "b"), run_id="1")], "shard1")
    with file_lookup(make("2"), ("id",)) as known:
        keys, owner = pa.table({"id": [3, 4, 1]}), RowOwner("2", "job")
        found = known.look_up(LookupRows(keys, ["c", "c", "d"], {}, None, owner))
        assert (found.codes.tolist(), found.stale) == ([ANSWERED, 0, 0], [2])
    dataset = make("2")
    dataset.write([answered((1, "b"), (3, "b"), (4, "b"), run_id="2")], "shard1")
    assert remove_replaced(dataset, pa.schema([("id", pa.int64())])) == 2
    assert in_bucket(new_folder) == [(1, "b"), (2, "a"), (3, "b"), (4, "b")]


def test_a_bucket_that_is_not_there_is_found_before_anything_is_paid(store, tmp_path):
    folder = UPath(f"{store.scheme}://there-is-no-such-bucket/answers", **store.options)
    with pytest.raises(
        ConfigError, match=r"there-is-no-such-bucket/answers: the folder cannot be written.*Nothing was sent"
    ):
        Dataset(folder, run_folder(tmp_path, "dag", "run")).prepare(SCHEMA)
