"""What a dataset has of earlier runs, and rows of it in whose place others stand."""

import datetime
from contextlib import suppress
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.incremental.target_lookup import LookupRows
from greennode_batch.staging.folders import land, run_folder
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.file_lookup import file_lookup, remove_replaced
from greennode_batch.write.parquet_files import ChangedError

COLUMNS = ("answer", "status", "custom_id", "run_id", "completed_at", "greennode_job", "greennode_order")
DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
KEY = pa.schema([("id", pa.int64())])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "answers"


@pytest.fixture
def make(tmp_path, folder):
    def dataset(run_id, partition_by=()):
        return Dataset(UPath(folder), run_folder(tmp_path / "staging", "dag", run_id), partition_by=partition_by)

    return dataset


@pytest.fixture
def write(make):
    """Writes rows of a run, the n-th of a series: {key: (custom_id, status)}."""

    def rows(number, given, *, column=None, legacy=False, shard="s", partition_by=()):
        keys = pa.array(list(given)) if column is None else column
        count = len(keys)
        own = [f"job{'' if legacy else number}"] * count, [None if legacy else f"2026-01-{number:02}"] * count
        values = [
            [f"{key} by {number}" for key in range(count)],
            [status for _, status in given.values()],
            [custom_id for custom_id, _ in given.values()],
            [f"run {number}"] * count,
            pa.array([DAY + datetime.timedelta(days=number)] * count, pa.timestamp("us", tz="UTC")),
            *own,
        ]
        table = pa.table([keys, *values], names=["id", *COLUMNS])
        if legacy:
            table = table.select(table.column_names[:-2])
        dataset = make(f"run {number}", partition_by)
        dataset.write([table], shard)
        return dataset

    return rows


class Seen(NamedTuple):
    """Places of rows."""

    answered: list[int]
    stale: list[int]
    rewritten: list[int]


def look_up(dataset, keys, custom_ids, key=("id",)):
    keys = keys if isinstance(keys, pa.Table) else pa.table({"id": keys})
    with file_lookup(dataset, key) as known:
        found = known.look_up(LookupRows(keys, custom_ids, {}, None, RowOwner("now", "job")))
    return Seen(np.flatnonzero(found.codes).tolist(), list(found.stale), list(found.rewritten))


def found(folder):
    rows = ds.dataset(folder).to_table().to_pylist()
    return sorted((row["id"], row["run_id"]) for row in rows)


GOOD, BAD = "succeeded", "failed"


def test_of_several_rows_of_a_key_the_latest_counts_unless_it_is_a_failure(write, make):
    write(1, {1: ("a", GOOD), 2: ("a", GOOD), 3: ("a", GOOD), 4: ("a", BAD)})
    write(2, {1: ("b", GOOD), 2: ("a", BAD), 3: ("b", BAD), 4: ("a", GOOD)})
    assert look_up(make("new"), [1, 2, 3, 4, 5], ["a"] * 5) == ([1, 2, 3], [0], [])
    assert look_up(make("new"), [1, 2], ["b", "b"]) == ([0], [1], [])


def test_files_of_a_version_before_have_answers_and_come_first(write, make):
    write(3, {1: ("a", GOOD), 2: ("a", GOOD)}, legacy=True)
    write(4, {1: ("b", GOOD)}, legacy=True)
    write(2, {2: ("c", GOOD)})
    assert look_up(make("new"), [1, 2], ["b", "c"]).answered == [0, 1]


def test_what_is_in_the_folder_beside_answers_is_passed_over(write, make, folder):
    write(1, {1: ("a", GOOD)})
    pq.write_table(pa.table({"id": [1], "other": ["x"]}), folder / "other.parquet")
    (folder / "_delta_log").mkdir()
    (folder / "_delta_log" / "x.parquet").write_bytes(b"")
    (folder / "notes.txt").write_text("no rows")
    assert look_up(make("new"), [1], ["a"]).answered == [0]
    assert look_up(make("elsewhere"), [1], ["a"], key=("id", "sample")).answered == []


def test_a_damaged_file_is_named_before_its_rows_are_asked_again(write, make, folder):
    write(1, {1: ("a", GOOD)})
    (folder / "part-0.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(ConfigError, match=r"part-0\.parquet cannot be read as Parquet"):
        look_up(make("new"), [1], ["a"])


@pytest.mark.parametrize(
    ("stored", "requested"),
    [
        (pa.array([1, 2]), pa.array([Decimal("1.00"), Decimal("2.00")])),
        (pa.array([Decimal("1.50"), Decimal(100)], pa.decimal128(20, 2)), pa.array([Decimal("1.5"), Decimal(100)])),
        (pa.array([1.5, 1e20]), pa.array([1.5, 1e20])),
        (pa.array([DAY, DAY]), pa.array([DAY, DAY], pa.timestamp("ns", tz="Asia/Ho_Chi_Minh"))),
        (
            pa.array([datetime.time(1), datetime.time(2, 0, 0, 5)]),
            pa.array([datetime.time(1), datetime.time(2, 0, 0, 5)]),
        ),
        (pa.array([datetime.date(2024, 2, 29)] * 2), pa.array([datetime.date(2024, 2, 29)] * 2)),
        (pa.array([1, 2**63], pa.uint64()), pa.array([1, 2**63], pa.uint64())),
        (pa.array(["a/b", "1.50"]), pa.array(["a/b", "1.50"])),
        (pa.array([True, False]), pa.array([True, False])),
    ],
)
@pytest.mark.parametrize("partition_by", [(), ("id",)])
def test_keys_are_found_whatever_type_a_file_gave_them(write, make, stored, requested, partition_by):
    write(1, {0: ("a", GOOD), 1: ("a", GOOD)}, column=stored, partition_by=partition_by)
    assert look_up(make("new"), requested, ["a", "a"]).answered == [0, 1]


def test_texts_that_look_like_one_number_are_two_keys(write, make):
    write(1, {0: ("a", GOOD)}, column=pa.array(["1.50"]))
    assert look_up(make("new"), ["1.5", "1.50"], ["a", "a"]).answered == [1]


def test_what_is_stored_is_read_by_place_from_whatever_file(write, make):
    write(1, dict.fromkeys(range(5), ("a", GOOD)))
    write(2, dict.fromkeys(range(3, 9), ("a", GOOD)))
    fields = [pa.field("answer", pa.string()), pa.field("greennode_final", pa.string())]
    with file_lookup(make("new"), ("id",)) as known:
        made = known.stored(pa.table({"id": [8, 99, 0, 3]}), fields).sort_by("index")
        assert made.column_names == ["index", "answer", "greennode_final"]
        assert (made["index"].to_pylist(), made["answer"].to_pylist()) == ([0, 2, 3], ["5 by 2", "0 by 1", "0 by 2"])
        assert known.stored(pa.table({"id": [0]}), [pa.field("score", pa.float64())]).num_rows == 0
        assert known.stored(pa.table({"id": [0]}), [pa.field("answer", pa.float64())]).num_rows == 0


def test_rows_that_left_the_source_are_counted_and_stay(write, make, folder):
    write(1, {1: ("a", GOOD), 2: ("a", GOOD)})
    with file_lookup(make("new"), ("id",)) as known:
        orphaned = known.orphaned([pa.table({"id": [2]})], remove=True)
    assert (orphaned.count, orphaned.shown, orphaned.removed) == (1, "1", False)
    assert found(folder) == [(1, "run 1"), (2, "run 1")]


def test_the_run_s_own_rows_are_there_and_have_to_be_written_again(write):
    dataset = write(1, {1: ("a", GOOD)})
    assert look_up(dataset, [1], ["a"]) == ([0], [], [0])


def test_rows_that_are_replaced_go_and_no_other(write, make, folder):
    write(1, {1: ("a", GOOD), 2: ("a", GOOD)})
    write(2, {3: ("a", GOOD), 4: ("a", GOOD)})
    write(5, {9: ("z", GOOD), 4: ("z", GOOD)})
    dataset = write(4, {1: ("b", GOOD), 2: ("a", BAD), 3: ("b", BAD), 4: ("b", GOOD), 5: ("b", BAD)})
    assert remove_replaced(dataset, KEY) == 5
    # A good answer stays in place of a failure, and what a later run wrote in place of all.
    assert found(folder) == [(1, "run 4"), (2, "run 1"), (3, "run 2"), (4, "run 5"), (5, "run 4"), (9, "run 5")]
    assert remove_replaced(dataset, KEY) == 0


def test_what_is_twice_since_a_version_before_stays_where_the_run_has_not_written_it(write, folder):
    write(1, {1: ("a", GOOD), 2: ("a", GOOD)}, legacy=True)
    write(2, {1: ("a", GOOD), 2: ("a", GOOD)}, legacy=True)
    assert remove_replaced(write(3, {1: ("b", GOOD)}), KEY) == 2
    assert found(folder) == [(1, "run 3"), (2, "run 1"), (2, "run 2")]


def test_a_file_without_rows_is_removed(write, folder):
    write(1, {1: ("a", GOOD)})
    remove_replaced(write(2, {1: ("b", GOOD)}), KEY)
    assert len(list(folder.glob("*.parquet"))) == 1


class _Overtaken(Dataset):
    """A dataset whose run is stopped when it has found which rows are replaced, and woken when another one is done."""

    def rewrite(self, path, *, without, version):
        remove_replaced(Dataset(self._folder, self.run), KEY)
        super().rewrite(path, without=without, version=version)


def test_a_report_that_wakes_late_removes_no_other_rows_of_a_file_that_was_written_again(write, folder, tmp_path):
    write(1, {1: ("a", GOOD), 2: ("a", GOOD), 3: ("a", GOOD)})
    write(2, {1: ("b", GOOD)})
    run = run_folder(tmp_path / "staging", "dag", "run 2")
    late = _Overtaken(UPath(folder), run)
    late.run = run
    with pytest.raises(ChangedError, match="another run rewrote or removed"):
        remove_replaced(late, KEY)
    assert found(folder) == [(1, "run 2"), (2, "run 1"), (3, "run 1")]


def test_answers_are_not_taken_from_a_file_that_was_written_again_since_it_was_looked_through(write, folder, make):
    write(1, {1: ("a", GOOD), 2: ("a", GOOD), 3: ("a", GOOD)})
    keys = pa.table({"id": pa.array([2], pa.int64())})
    with file_lookup(make("run 9"), ("id",)) as known:
        known.look_up(LookupRows(keys, pa.array(["a"]), {}, None, RowOwner("run 9", "job")))
        remove_replaced(write(2, {1: ("b", GOOD)}), KEY)
        with pytest.raises(ChangedError):
            known.stored(keys, [pa.field("answer", pa.string())])


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("is_done", [True, False])
@pytest.mark.parametrize("step", range(3))
def test_killed_at_any_step_no_reader_misses_a_row_and_the_next_call_ends_it(write, folder, monkeypatch, step, is_done):
    write(1, {1: ("a", GOOD), 2: ("a", GOOD)})
    write(2, {3: ("a", GOOD)})
    dataset = write(3, {1: ("b", GOOD), 3: ("b", GOOD), 2: ("a", BAD)})
    steps = []

    def killed(act):
        def wrapped(*args, **kwargs):
            steps.append(act)
            if len(steps) == step + 1 and not is_done:
                raise _Killed
            act(*args, **kwargs)
            assert {key for key, _ in found(folder)} == {1, 2, 3}
            if len(steps) == step + 1:
                raise _Killed

        return wrapped

    with monkeypatch.context() as patched, suppress(_Killed):
        patched.setattr("greennode_batch.write.dataset.land", killed(land))
        patched.setattr(Dataset, "remove", killed(Dataset.remove))
        remove_replaced(dataset, KEY)
    assert len(steps) == step + 1
    assert {key for key, _ in found(folder)} == {1, 2, 3}
    remove_replaced(dataset, KEY)
    assert found(folder) == [(1, "run 3"), (2, "run 1"), (3, "run 3")]
    assert not [path for path in folder.iterdir() if path.is_dir() and any(path.iterdir())]
