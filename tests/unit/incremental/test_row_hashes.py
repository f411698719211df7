"""Hashes of rows: what may be taken for unchanged, and in every process the same."""

import datetime
import os
import subprocess
import sys
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.incremental.row_hashes import hash_rows, with_model
from greennode_batch.source.rows import Rows

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.binary(max_size=3)
    | st.decimals(allow_nan=False, allow_infinity=False, places=2)
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.uuids()
)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=2), parts, max_size=3),
    max_leaves=6,
)
VALUES = PLAIN | DOCUMENTS
NOON = datetime.datetime(2024, 6, 1, 12, tzinfo=datetime.UTC)
KEYS = st.one_of(
    st.booleans(),
    st.integers(-3, 3),
    st.integers(2**62, 2**65),
    st.sampled_from([0.5, 1.0, -2.0, 2.0**63, float("inf")]),
    st.sampled_from(list(map(Decimal, ("1", "1.0", "1.00", "0.5", "-2", "Infinity")))),
    st.sampled_from(["1", "", "é", "1.0"]),
    st.timedeltas(datetime.timedelta(), datetime.timedelta(seconds=1)).map(
        lambda after: (NOON + after).astimezone(ZoneInfo("Europe/Oslo"))
    ),
)


def hashes(columns, rows, *, key=(), inputs=()):
    (batch,) = Rows.from_tuples(columns, [rows]).batches
    return hash_rows(batch, key=key, inputs=inputs)


def inputs_of(*values):
    return [int(one) for one in hashes(("x",), [(value,) for value in values], inputs=["x"])["input"]]


def keys_of(*values):
    return [int(one) for one in hashes(("x",), [(value,) for value in values], key=["x"])["key"]]


def told_apart(value):
    """What a template may make something of: the type and the value, and so on within."""
    if isinstance(value, dict):
        return dict, [(told_apart(name), told_apart(one)) for name, one in value.items()]
    if isinstance(value, list):
        return list, [told_apart(one) for one in value]
    return type(value), repr(value)


@given(st.lists(VALUES, min_size=1, max_size=8))
def test_two_inputs_have_one_hash_if_and_only_if_no_template_can_tell_them_apart(values):
    made = inputs_of(*values)
    assert 0 not in made
    for one, first in zip(made, values, strict=True):
        for other, second in zip(made, values, strict=True):
            assert (one == other) == (told_apart(first) == told_apart(second))


@given(st.lists(VALUES, min_size=2, max_size=8), st.data())
def test_a_hash_does_not_depend_on_the_rows_beside_it(values, data):
    cut = data.draw(st.integers(1, len(values) - 1))
    assert inputs_of(*values[:cut]) + inputs_of(*values[cut:]) == inputs_of(*values)


@given(st.lists(KEYS, min_size=1, max_size=8))
def test_two_keys_have_one_hash_if_and_only_if_python_calls_them_equal(values):
    made = keys_of(*values)
    for one, first in zip(made, values, strict=True):
        for other, second in zip(made, values, strict=True):
            assert (one == other) == (first == second)


def test_one_moment_is_one_key_in_whatever_zone_and_two_inputs():
    there = NOON.astimezone(ZoneInfo("Asia/Ho_Chi_Minh"))
    first, second = keys_of(NOON, there)
    assert first == second
    first, second = inputs_of(NOON, there)
    assert first != second


def test_columns_cannot_swap_their_values():
    rows = [("a", "b"), ("b", "a"), ("ab", ""), ("", "ab"), ("a", None), (None, "a")]
    assert len(np.unique(hashes(("x", "y"), rows, inputs=["x", "y"])["input"])) == len(rows)
    assert len(np.unique(hashes(("x", "y"), rows, key=["x", "y"])["key"])) == len(rows)


class Unknown:
    pass


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize("value", [Unknown(), Text("a"), [Unknown()], {"a": (Unknown(),)}, memoryview(b"a")])
def test_of_a_value_of_an_unknown_type_it_is_not_told(value):
    assert inputs_of("a", value)[1] == 0
    columns = hashes(("x", "y"), [("a", value)], inputs=["x", "y"], key=["x", "y"])
    assert (columns["input"], columns["key"]) == (0, 0)


def test_half_of_a_surrogate_pair_has_a_hash_and_harms_no_other():
    good, bad = inputs_of("good", "\ud800")
    assert [good] == inputs_of("good")
    assert bad not in (0, good)


def test_each_model_has_keys_of_its_own():
    made = hashes(("x",), [(1,), (2,)], key=["x"])
    of_models = [with_model(made, model)["key"] for model in ("a", "b")]
    assert len(np.unique(np.concatenate(of_models))) == 4
    assert (with_model(made, "a")["input"] == made["input"]).all()
    of_samples = [with_model(made, model, sample)["key"] for model in ("a", "b") for sample in (1, 2, 3)]
    assert len(np.unique(of_samples)) == 6 * len(made)
    assert (of_samples[0] == of_models[0]).all()


SAMPLE = """
import datetime, decimal, uuid
from greennode_batch.incremental.row_hashes import hash_rows
from greennode_batch.source.rows import Rows
rows = [(1, "é", None), (2, {"a": [1, 1.5, True]}, decimal.Decimal("1.50")), (2**70, "", datetime.date(2024, 2, 29))]
(batch,) = Rows.from_tuples(("a", "b", "c"), [rows]).batches
print(hash_rows(batch, key=["a"], inputs=["b", "c"]).tobytes().hex())
"""


def test_every_process_makes_the_same_hashes():
    made = {
        subprocess.run(
            [sys.executable, "-c", SAMPLE],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    # Notes outlive versions of this code: other hashes here need another version of the note.
    assert made == {
        "f258ffa01bcff57d0b610c3d30eb8a1a5c6a209f0ad469cac9ce7977dd234891a98466e254ea90e5b80faf04c66f384f\n"
    }
