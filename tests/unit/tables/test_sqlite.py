import datetime
from decimal import Decimal

import pyarrow as pa


def test_what_it_has_no_type_for_is_kept_as_text(open_database):
    sqlite = open_database("sqlite3")
    rows = pa.table(
        {
            "id": [1],
            "flag": [True],
            "big": pa.array([2**64 - 1], pa.uint64()),
            "score": [0.1],
            "price": [Decimal("12.50")],
            "day": [datetime.date(2024, 2, 29)],
            "local": [datetime.datetime(2024, 1, 1, 12)],  # noqa: DTZ001 - it has no zone
            "at": [datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)],
            "doc": ['{"a": [1]}'],
            "status": ["succeeded"],
            "run_id": ["r"],
        }
    )
    nothing = {**dict.fromkeys(rows.column_names), "id": 2, "status": "missing", "run_id": "r"}
    sqlite.written(pa.concat_tables([rows, pa.Table.from_pylist([nothing], rows.schema)]))
    ((_, flag, big, score, price, day, local, at, doc, *_), none) = sqlite.fetch("SELECT * FROM answers ORDER BY id")
    assert (flag, big, score, price, day) == (1, str(2**64 - 1), 0.1, "12.50", "2024-02-29")
    assert (local[:19], at[:19], doc) == ("2024-01-01 12:00:00", "2024-01-01 00:00:00", '{"a": [1]}')
    assert none == tuple(nothing.values())
