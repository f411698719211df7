import datetime
import uuid
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greennode_batch.errors import RowError
from greennode_batch.plan.bloom_filter import BloomFilter
from greennode_batch.plan.unique_keys import UniqueKeys
from greennode_batch.source.rows import Rows


def check(tmp_path, batches, names=("id",), seen=None):
    keys = UniqueKeys(names, tmp_path, seen=seen)
    for batch in Rows.from_tuples(names, batches).batches:
        keys.add(batch)
    keys.finish()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.tuples(st.integers(-3, 40), st.sampled_from("ab")), max_size=6), max_size=8),
    st.sampled_from([1, 1 << 10]),
)
def test_a_key_that_comes_twice_is_found_wherever_it_comes_and_however_full_the_filter_is(tmp_path, batches, words):
    rows = [row for batch in batches for row in batch]
    names = ("id", "part")
    if len(set(rows)) == len(rows):
        check(tmp_path, batches, names, BloomFilter(words))
        return
    with pytest.raises(RowError, match=r"this key comes twice") as caught:
        check(tmp_path, batches, names, BloomFilter(words))
    assert any(f"id, part = {number}, {part}:" in str(caught.value) for number, part in rows)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, Decimal("1.0")),
        (Decimal("1.5"), Decimal("1.50")),
        (uuid.UUID(int=5), uuid.UUID(int=5)),
        (datetime.date(2024, 1, 2), datetime.date(2024, 1, 2)),
        ("a", "a"),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_equal_keys_are_found_in_batches_far_apart(tmp_path, one, other):
    between = [[(f"x{start + number}",) for number in range(1000)] for start in range(0, 5000, 1000)]
    with pytest.raises(RowError, match="this key comes twice"):
        check(tmp_path, [[(one,)], *between, [(other,)]])


def test_keys_that_python_gives_one_hash_are_told_apart(tmp_path):
    assert hash((-1,)) == hash((-2,))
    check(tmp_path, [[(-1,)], [(-2,)]])


@pytest.mark.parametrize(
    ("key", "words"), [((None,), "id = NULL: a key may not be NULL"), (({"a": 1},), "may not be JSON or an array")]
)
def test_what_cannot_be_a_key_is_named(tmp_path, key, words):
    with pytest.raises(RowError, match=words):
        check(tmp_path, [[(1,)], [(2,), key]])


BERLIN = ZoneInfo("Europe/Berlin")
FIRST = datetime.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN)
SECOND = FIRST.replace(fold=1)


@pytest.mark.parametrize("batches", [[[(FIRST,), (SECOND,)]], [[(FIRST,)], [(SECOND,)]], [[(SECOND,), (FIRST,)]]])
@pytest.mark.parametrize("words", [1, 1 << 10])
def test_the_two_times_of_the_hour_that_comes_twice_in_autumn_are_two_keys(tmp_path, batches, words):
    assert FIRST == SECOND, "as Python compares them"
    check(tmp_path, batches, seen=BloomFilter(words))


@pytest.mark.parametrize(
    "other", [FIRST.astimezone(datetime.UTC), FIRST.replace(fold=0), FIRST.astimezone(ZoneInfo("Asia/Tokyo"))]
)
def test_one_instant_is_one_key_however_it_is_written(tmp_path, other):
    with pytest.raises(RowError, match="this key comes twice"):
        check(tmp_path, [[(FIRST,), (other,)]])


def test_a_run_is_built_with_both(make_run):
    _, plan = make_run(("at", "text"), [(FIRST, "a"), (SECOND, "b")], key="at")
    assert (plan.rows, plan.requests) == (2, 2)
