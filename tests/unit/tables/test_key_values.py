from datetime import UTC, datetime

import pytest

from greennode_batch.tables.key_values import ZONED, KeyValues


@pytest.mark.parametrize(
    ("batches", "kinds", "longest", "most_bytes", "least", "greatest"),
    [
        ([[3, 1], [-7]], {"int"}, 0, 0, -7, 3),
        ([["a", "ế"], ["abc"]], {"str"}, 3, 12, 0, 0),
        ([["ế" * 101, "a" * 200]], {"str"}, 200, 303, 0, 0),
        ([[1], ["a"]], {"int", "str"}, 1, 4, 0, 1),
        ([[datetime(2024, 1, 1)]], {"datetime"}, 0, 0, 0, 0),  # noqa: DTZ001 - it has no zone
        ([[datetime(2024, 1, 1, tzinfo=UTC)]], {"datetime", ZONED}, 0, 0, 0, 0),
    ],
)
def test_values_are_summed_up_over_all_batches(batches, kinds, longest, most_bytes, least, greatest):
    values = KeyValues()
    for batch in batches:
        values.add(batch)
    assert (values.kinds, values.longest, values.most_bytes) == (kinds, longest, most_bytes)
    assert (values.least, values.greatest) == (least, greatest)
