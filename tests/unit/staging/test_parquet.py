import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.staging.parquet import read_pieces, read_table, table_writer

TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
ROWS = st.lists(st.tuples(st.integers(0, 99), TEXTS), max_size=12)


def table_of(rows):
    return pa.table({"id": pa.array([row[0] for row in rows], pa.int64()), "answer": [row[1] for row in rows]})


def write(path, *groups):
    schema = pa.schema([("id", pa.int64()), ("answer", pa.string())])
    with table_writer(path, schema) as writer:
        for group in groups:
            writer.write_table(table_of(group).cast(schema))
    return path


@given(st.lists(ROWS, min_size=1, max_size=3))
def test_what_is_written_is_read_as_a_whole_and_piece_by_piece(tmp_path_factory, groups):
    path = write(tmp_path_factory.mktemp("staging") / "rows.parquet", *groups)
    rows = [row for group in groups for row in group]
    read = read_table(path)
    assert list(zip(read["id"].to_pylist(), read["answer"].to_pylist(), strict=True)) == rows
    with pq.ParquetFile(path) as file:
        pieces = list(read_pieces(file, ["answer", "id"]))
    assert [row for piece in pieces for row in piece["id"].to_pylist()] == [row[0] for row in rows]
    assert all(piece.column_names == ["answer", "id"] for piece in pieces)
    assert len(pieces) == len(groups)


def test_columns_come_in_the_order_in_which_they_are_asked_for(tmp_path):
    path = write(tmp_path / "rows.parquet", [(1, "x")])
    assert read_table(path, ["answer", "id"]).column_names == ["answer", "id"]
    assert read_table(path, ["answer"]).column_names == ["answer"]
    with pytest.raises(KeyError):
        read_table(path, ["gone"])


def test_answers_have_no_dictionary_and_keys_that_come_again_have_one(tmp_path):
    path = tmp_path / "rows.parquet"
    with table_writer(path, pa.schema([("model", pa.string()), ("answer", pa.string())])) as writer:
        writer.write_table(pa.table({"model": ["m"] * 100, "answer": [f"answer {n}" for n in range(100)]}))
    group = pq.read_metadata(path).row_group(0)
    has_dictionary = {group.column(n).path_in_schema: group.column(n).has_dictionary_page for n in range(2)}
    assert has_dictionary == {"model": True, "answer": False}
