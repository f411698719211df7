import datetime
import os
import stat
from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import run_folder
from greennode_batch.write import dataset_files as part_files
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.dataset_schema import SCHEMA_FILE
from greennode_batch.write.parquet_files import ChangedError


def rows_of(*rows):
    return pa.table(
        {
            "id": pa.array([row[0] for row in rows], pa.int64()),
            "topic": pa.array([row[1] for row in rows], pa.string()),
            "answer": pa.array([f"answer {row[0]}" for row in rows], pa.string()),
        }
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "answers"


@pytest.fixture
def make(tmp_path, folder):
    def dataset(run_id="run", dag_id="dag", partition_by=("topic",)):
        return Dataset(UPath(folder), run_folder(tmp_path / "staging", dag_id, run_id), partition_by=partition_by)

    return dataset


def found(folder):
    rows = ds.dataset(folder, partitioning="hive").to_table().to_pylist()
    return sorted((row["id"], row.get("topic"), row["answer"]) for row in rows)


def expected(*rows):
    return sorted((number, topic, f"answer {number}") for number, topic in rows)


HARD = [(1, "a/b"), (2, "tiếng Việt"), (3, "50% = x"), (5, "a/b")]


def by_pyarrow(folder):
    return [
        (row["id"], row["topic"], row["answer"])
        for row in ds.dataset(folder, partitioning="hive").to_table().to_pylist()
    ]


def by_pandas(folder):
    frame = pd.read_parquet(folder).astype({"topic": object}).replace({np.nan: None})
    return [(row.id, row.topic, row.answer) for row in frame.itertuples()]


def by_duckdb(folder):
    files = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    return duckdb.sql(f"SELECT id, topic, answer FROM {files}").fetchall()


@pytest.mark.parametrize(
    ("read", "more"),
    # pandas knows no NULL among the values of folders.
    [(by_pyarrow, [(6, None)]), (by_pandas, []), (by_duckdb, [(6, None)])],
)
def test_outside_readers_see_one_table(make, folder, read, more):
    make().write([rows_of(*HARD)], "shard1")
    make(run_id="other").write([rows_of((7, "a/b"), *more)], "shard1")
    assert sorted(read(folder)) == expected(*HARD, (7, "a/b"), *more)


def test_a_column_that_is_a_folder_is_not_in_the_files(make, folder):
    (path,) = make().write([rows_of((1, "a"))], "shard1")
    assert pq.read_schema(folder / path).names == ["id", "answer"]


def test_runs_and_shards_and_dags_do_not_overwrite_each_other(make, folder):
    paths = [
        make(run_id, dag_id).write([rows_of((1, "a"))], shard)
        for run_id, dag_id, shard in [("r", "d", "s"), ("r", "d", "t"), ("q", "d", "s"), ("r", "e", "s")]
    ]
    assert len(set(paths)) == 4
    assert len(found(folder)) == 4


def test_a_shard_that_is_written_again_replaces_its_own_files_wherever_its_rows_are_now(make, folder):
    make("other").write([rows_of((9, "b"))], "shard1")
    first = make().write([rows_of((1, "a"), (2, "b"))], "shard1")
    second = make().write([rows_of((1, "b"), (2, "c"))], "shard1", replaces=first)
    assert found(folder) == expected((1, "b"), (2, "c"), (9, "b"))
    assert sorted(make().files()) == sorted(second)
    assert make().write([rows_of((1, "b"), (2, "c"))], "shard1", replaces=second) == second


def test_a_file_is_not_seen_before_it_is_whole(make, folder, monkeypatch):
    seen = []
    write_table = pq.ParquetWriter.write_table

    def looked_at(writer, rows):
        write_table(writer, rows)
        seen.append((found(folder), [path.name for path in folder.rglob("*.parquet")]))
        raise KeyboardInterrupt

    monkeypatch.setattr(pq.ParquetWriter, "write_table", looked_at)
    with pytest.raises(KeyboardInterrupt):
        make().write([rows_of((1, "a"))], "shard1")
    assert seen == [([], [])]
    assert [path.name for path in folder.iterdir()] == [SCHEMA_FILE]


def test_rows_come_in_pieces_and_a_partition_is_one_file(make, folder):
    pieces = [rows_of((1, "a"), (2, "b")), rows_of((3, "b")), rows_of((4, "c"), (5, "a"))]
    written = make().write(pieces, "shard1")
    assert len(written) == 3
    assert found(folder) == expected((1, "a"), (2, "b"), (3, "b"), (4, "c"), (5, "a"))


def test_more_partitions_than_files_may_be_open_are_written_some_after_the_others(make, folder, monkeypatch):
    monkeypatch.setattr(part_files, "MAX_OPEN", 3)
    monkeypatch.setattr(part_files, "_HELD_BYTES", 100)
    rows = [(number, f"topic {number % 7}") for number in range(30)]
    pieces = [rows_of(*rows[start : start + 4]) for start in range(0, 30, 4)]
    assert len(make().write(pieces, "shard1")) == 7
    assert found(folder) == expected(*rows)


def test_too_many_partitions_are_refused_however_many_of_them_a_piece_has(make, folder):
    pieces = [rows_of(*((number, f"{piece} {number}") for number in range(501))) for piece in range(2)]
    with pytest.raises(ConfigError, match="partition_by topic splits one shard into 1,002 partitions"):
        make().write(pieces, "shard1")
    assert [path.name for path in folder.iterdir()] == [SCHEMA_FILE]


def test_what_a_killed_worker_left_half_written_goes_when_its_shard_is_written_again(make, folder):
    (path,) = make(partition_by=()).write([rows_of((1, "a"))], "shard1")
    orphaned = folder / f".{path.removesuffix('.parquet')}-x"
    other = folder / ".part-of-another"
    for one in (orphaned, other):
        one.mkdir()
        (one / "part").write_bytes(b"half")
    assert found(folder) == expected((1, "a"))
    make(partition_by=()).write([rows_of((1, "a"))], "shard1", replaces=(path,))
    assert (orphaned.exists(), other.exists()) == (False, True)


def test_a_worker_in_whose_place_another_one_writes_the_shard_is_told_so_and_changes_nothing(make, folder):
    class Rows:
        is_late = True

        def __iter__(self):
            if self.is_late:
                self.is_late = False
                make().write(self, "shard")
            yield rows_of((1, "a"), (2, "b"))

    with pytest.raises(ChangedError, match="another worker of this run has started to write the same files"):
        make().write(Rows(), "shard")
    assert found(folder) == expected((1, "a"), (2, "b"))


def test_types_that_spark_and_athena_do_not_have_are_written_as_ones_that_they_have(make, folder):
    nanos = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", tz="UTC"))
    rows = pa.table(
        {
            "time": pa.array([datetime.time(1, 2)]),
            "at": nanos,
            "big": pa.array([2**64 - 1], pa.uint64()),
            "small": pa.array([7], pa.uint16()),
            "exact": pa.array([Decimal("1.5")], pa.decimal256(60, 2)),
            "plain": pa.array([Decimal("1.5")], pa.decimal128(10, 2)),
        }
    )
    (path,) = make(partition_by=()).write([rows], "shard1")
    table = pq.read_table(folder / path)
    assert table.schema.types == [
        pa.string(), pa.timestamp("us", tz="UTC"), pa.decimal128(20, 0), pa.int64(), pa.string(), pa.decimal128(10, 2)
    ]  # fmt: skip
    assert table["time"].to_pylist() == ["01:02:00.000000"]
    assert table["at"].cast(pa.int64()).to_pylist() == [1_700_000_000_123_456]
    assert table["big"].to_pylist() == [Decimal(2**64 - 1)]
    assert table["exact"].to_pylist() == ["1.50"]


def test_files_of_the_run_are_told_by_their_names_alone(make, folder):
    mine = make().write([rows_of((1, "a"), (2, "b"))], "shard1")
    make("other").write([rows_of((3, "a"))], "shard1")
    (folder / "notes.txt").write_text("mine")
    assert make().files() == sorted(mine)
    assert {make().shard_of(path) for path in mine} == {"shard1"}
    make().remove(mine[0])
    make().remove(mine[0])
    assert make().files() == [mine[1]]


SCHEMA = rows_of((1, "a")).schema


def test_a_folder_is_tried_before_anything_is_paid_and_nothing_is_left_there(make, folder):
    make().prepare(SCHEMA, create=False)
    assert not folder.exists()
    make().prepare(SCHEMA)
    assert list(folder.iterdir()) == []


def test_what_is_no_folder_is_refused(make, folder, tmp_path):
    folder.write_text("a file")
    with pytest.raises(ConfigError, match="answers: the path is a file, and a dataset needs a folder"):
        make().prepare(SCHEMA, create=False)
    below = Dataset(UPath(folder / "below"), run_folder(tmp_path, "dag", "run"))
    with pytest.raises(ConfigError, match=r"answers/below: the folder cannot be written.*Nothing was sent"):
        below.prepare(SCHEMA)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused(make, folder):
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ConfigError, match="cannot be written"):
        make().prepare(SCHEMA)
