import datetime
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greennode_batch.plan.source_rows import SourceRows, source_rows, write_source
from greennode_batch.source.column_types import to_arrow, unify


def stored(tmp_path, name, batches):
    """source.parquet of batches of one column, as a shard stores them."""
    rows = SourceRows(tmp_path, "rows")
    for values in batches:
        rows.add(
            source_rows(pa.table({name: to_arrow(values, name)}), "model", ["id"] * len(values), [None] * len(values))
        )
    rows.close()
    made = tmp_path / "source.parquet"
    write_source(rows.files(), unify(rows.schemas()), made)
    return pq.read_table(made)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["abc", {"a": 1}, None, 5], ["abc", '{"a": 1}', None, "5"]),
        ([{"a": Decimal("1.5")}], ['{"a": 1.5}']),
        ([[datetime.date(2024, 1, 2)]], ['["2024-01-02"]']),
        ([2**63, None], [str(2**63), None]),
        ([Decimal("NaN"), Decimal("1.5")], ["NaN", "1.5"]),
        ([(1, "x")], ["(1, 'x')"]),
    ],
)
def test_what_has_no_plain_type_becomes_the_same_text_whatever_stands_beside_it(values, texts):
    assert to_arrow(values, "x").to_pylist() == texts
    assert [to_arrow([value], "x").cast(pa.string()).to_pylist()[0] for value in values] == texts


def test_times_of_different_offsets_are_one_type():
    zones = [datetime.timezone(datetime.timedelta(hours=hours)) for hours in (1, 2)]
    arrays = [to_arrow([datetime.datetime(2024, 7, 1, tzinfo=zone)], "at") for zone in zones]
    assert {array.type for array in arrays} == {pa.timestamp("us", tz="UTC")}


def test_a_json_column_is_json_in_every_chunk(tmp_path):
    values = [{"n": number} if number % 2 else None for number in range(10_000)]
    table = stored(tmp_path, "doc", [values[start : start + 1000] for start in range(0, 10_000, 1000)])
    assert [text and json.loads(text) for text in table["doc"].to_pylist()] == values


def test_a_column_may_change_its_type_between_chunks(tmp_path):
    table = stored(tmp_path, "x", [[1, 2], [3], ["late"], [4, None], [None]])
    assert table["x"].to_pylist() == ["1", "2", "3", "late", "4", None, None]


def test_what_is_much_lies_on_disk_and_comes_back_in_order(tmp_path):
    batches = [[f"{start + number}" * 50 for number in range(5_000)] for start in range(0, 60_000, 5_000)]
    rows = SourceRows(tmp_path, "rows")
    for batch in batches:
        rows.add(source_rows(pa.table({"x": to_arrow(batch, "x")}), "model", ["id"] * len(batch), [None] * len(batch)))
        assert sum(map(len, rows._held)) < 20_000
    assert len(rows) == 60_000
    rows.close()
    write_source(rows.files(), unify(rows.schemas()), tmp_path / "made.parquet")
    assert pq.read_table(tmp_path / "made.parquet")["x"].to_pylist() == [text for batch in batches for text in batch]


def test_decimals_of_different_lengths_are_one_type():
    schemas = [pa.table({"x": to_arrow([Decimal(text)], "x")}).schema for text in ("1.5", "123456.789")]
    common = unify(schemas).field("x").type
    assert pa.types.is_decimal(common)
    assert [pa.array([Decimal(text)]).cast(common)[0].as_py() for text in ("1.5", "123456.789")] == [
        Decimal("1.5"),
        Decimal("123456.789"),
    ]
