from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.source.partition import WHOLE, Part


@given(st.lists(st.integers(), max_size=20), st.integers(1, 7))
def test_each_item_falls_to_one_part_and_the_parts_are_about_equal(items, total):
    parts = [Part(number, total).dealt(items) for number in range(total)]
    assert sorted(one for part in parts for one in part) == sorted(items)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.integers(), max_size=20))
def test_the_whole_is_all_in_its_order(items):
    assert WHOLE.dealt(items) == items
