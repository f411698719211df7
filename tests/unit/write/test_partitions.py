import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.write.partitions import MAX_PARTITIONS, partition_values, partitions

texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@given(rows=st.lists(st.tuples(texts, st.none() | st.integers(-3, 3)), max_size=12))
def test_each_row_is_in_the_folder_of_its_own_values(rows):
    table = pa.table({"a/=": [row[0] for row in rows], "b": pa.array([row[1] for row in rows], pa.int64())})
    table = table.append_column("n", pa.array(range(len(rows)), pa.int64()))
    found = {}
    for folder, part in partitions(table, ("a/=", "b")):
        assert part.column_names == ["n"]
        values = partition_values(folder)
        found |= dict.fromkeys(part["n"].to_pylist(), (values["a/="], values["b"]))
    assert found == {n: (a or None, None if b is None else str(b)) for n, (a, b) in enumerate(rows)}


@pytest.mark.parametrize(
    ("value", "folder"),
    [
        ("2026-01-31", "k=2026-01-31"),
        ("a/b c", "k=a%2Fb%20c"),
        ("..", "k=.."),
        ("50%", "k=50%25"),
        ("tiếng Việt", "k=tiếng%20Việt"),
        (None, "k=__HIVE_DEFAULT_PARTITION__"),
        ("", "k=__HIVE_DEFAULT_PARTITION__"),
    ],
)
def test_a_value_becomes_the_folder_that_hive_gives_it(value, folder):
    ((found, _),) = partitions(pa.table({"k": pa.array([value], pa.string()), "n": [1]}), ("k",))
    assert found == folder


def test_without_columns_there_is_one_partition_in_no_folder():
    rows = pa.table({"n": [1, 2]})
    assert list(partitions(rows, ())) == [("", rows)]
    assert partition_values("") == {}


def test_as_many_partitions_as_make_sense_and_one_more():
    rows = pa.table({"k": range(MAX_PARTITIONS + 1), "n": range(MAX_PARTITIONS + 1)})
    assert len(list(partitions(rows.slice(1), ("k",)))) == MAX_PARTITIONS
    with pytest.raises(
        ConfigError, match=r"partition_by k splits one shard into 1,001 partitions.*nothing is paid twice"
    ):
        list(partitions(rows, ("k",)))


def test_only_wanted_partitions_are_given_and_all_are_asked_for():
    rows = pa.table({"k": ["c", "a", "b", "a", "c"], "n": range(5)})
    requested = []

    def is_wanted(folder):
        requested.append(folder)
        return folder != "k=b"

    found = [(folder, part["n"].to_pylist()) for folder, part in partitions(rows, ("k",), is_wanted)]
    assert sorted(found) == [("k=a", [1, 3]), ("k=c", [0, 4])]
    assert sorted(requested) == ["k=a", "k=b", "k=c"]
    assert list(partitions(rows, (), lambda _folder: False)) == []


def test_many_values_in_many_columns_are_told_apart():
    rows = pa.table({name: range(1_000) for name in "abcdefgh"})
    assert len(list(partitions(rows, tuple("abcdefg")))) == 1_000


def test_a_value_too_long_for_a_folder_is_named_before_any_file_is_made():
    rows = pa.table({"k": ["short", "x" * 300], "n": [1, 2]})
    with pytest.raises(ConfigError, match=r"partition_by k: the value 'xxx.* is too long for a folder's name"):
        next(partitions(rows, ("k",)))
