import os
import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.state.rows_fingerprint import NO_ROWS, RowsFingerprint
from greennode_batch.tables.fingerprint import fingerprint, row_hashes

KEY = ("id", "part")
SCHEMA = pa.schema([("id", pa.int64()), ("part", pa.string()), ("custom_id", pa.string()), ("status", pa.string())])
ROWS = [(1, "a", "c1", "succeeded"), (2, "b", "c2", "failed"), (3, "tiếng Việt", None, "unsent")]


def table(rows=ROWS):
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], SCHEMA)


def of(rows=ROWS):
    return fingerprint([table(rows)], KEY)


rows_of_any_kind = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.text(max_size=4),
        st.none() | st.sampled_from(["c1", "c2"]),
        st.sampled_from(["succeeded", "failed"]),
    ),
    max_size=8,
)


@given(rows=rows_of_any_kind, data=st.data())
def test_neither_order_nor_pieces_nor_encoding_change_it(rows, data):
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    pieces = [table(shuffled[:cut]), table(shuffled[cut:])]
    assert fingerprint(pieces, KEY) == fingerprint([pa.concat_tables(pieces)], KEY) == of(rows)
    encoded = table(rows)
    for name in ("part", "custom_id", "status"):
        index = encoded.column_names.index(name)
        encoded = encoded.set_column(index, name, encoded[name].dictionary_encode())
    assert fingerprint([encoded], KEY) == of(rows)


@given(rows=rows_of_any_kind, others=rows_of_any_kind)
def test_other_rows_have_another(rows, others):
    mended = [
        sorted([(i, part.replace("\x00", "\ufffd"), c or "", s) for i, part, c, s in one]) for one in (rows, others)
    ]
    assert (of(rows) == of(others)) == (mended[0] == mended[1])


@pytest.mark.parametrize(
    "others",
    [
        ROWS[:2],
        [*ROWS, ROWS[0]],
        [(1, "a", "c1", "failed"), (2, "b", "c2", "succeeded"), ROWS[2]],
        [(1, "b", "c1", "succeeded"), (2, "a", "c2", "failed"), ROWS[2]],
        [(1, "a", "c2", "succeeded"), (2, "b", "c1", "failed"), ROWS[2]],
        [*ROWS[:2], (3, "tiếng Việt", "", "unsent")],
        [*ROWS[:2], (3, "tiếng Việt", "None", "unsent")],
        [*ROWS[:2], (3, "tieng Viet", None, "unsent")],
    ],
    ids=["gone", "twice", "statuses swapped", "keys swapped", "ids swapped", "empty", "None as text", "other letters"],
)
def test_what_was_lost_doubled_or_swapped_shows(others):
    assert of(others) != of()


def test_what_lies_between_two_columns_of_the_key_matters():
    rows = pa.table({"a": ["xy", "x"], "b": ["", "y"], "custom_id": ["c", "c"], "status": ["s", "s"]})
    assert len(set(row_hashes(rows, ("a", "b")).tolist())) == 2


def test_it_is_the_same_in_every_process_and_in_every_version():
    program = (
        "import pyarrow as pa; from greennode_batch.tables.fingerprint import fingerprint; "
        "print(fingerprint([pa.table({'id': [1], 'custom_id': ['c'], 'status': ['succeeded']})], ['id']).hex)"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    # It stands in joined.json: a worker with another version must find it again.
    assert printed == {b"10246b0202a6fb42"}


def test_sums_wrap_around_and_no_rows_add_nothing():
    assert RowsFingerprint(1, 2**64 - 1).joined_with(RowsFingerprint(2, 3)) == RowsFingerprint(3, 2)
    assert of([]) == NO_ROWS
    assert of().joined_with(NO_ROWS) == of()
    assert int(of().hex, 16) == of().total
