import itertools

import pyarrow as pa
import pytest

from greennode_batch.incremental.answered import SETTLED, is_answered, settled
from greennode_batch.state.row_status import RowStatus

NAMES = ("status", "error", "custom_id", "greennode_order", "greennode_final")


def settled_as(final_for, **row):
    rows = pa.Table.from_pylist([{**dict.fromkeys(NAMES), **row}], pa.schema([(name, pa.string()) for name in NAMES]))
    (code,) = settled(rows, final_for).tolist()
    return SETTLED[code - 1] if code else None


def test_a_row_that_succeeded_is_answered_and_no_other():
    statuses = [*RowStatus, "of another version", None]
    rows = pa.table({"status": pa.array(statuses, pa.string())})
    told = dict(zip(statuses, is_answered(rows).to_pylist(), strict=True))
    assert {status for status, answered in told.items() if answered is not False} == {RowStatus.SUCCEEDED}


@pytest.mark.parametrize("final_for", ["model", None])
@pytest.mark.parametrize("row", [{}, {"greennode_order": "1", "greennode_final": "another"}])
def test_an_answer_is_good_whatever_answer_model_is_asked_for(final_for, row):
    assert settled_as(final_for, status="succeeded", custom_id="c", **row) == "succeeded"


@pytest.mark.parametrize("status", sorted(set(SETTLED) - {RowStatus.SUCCEEDED}))
def test_what_is_final_is_final_for_its_answer_model_and_unless_it_is_to_be_asked_again(status):
    row = {"status": status, "custom_id": "c", "greennode_order": "1", "greennode_final": "model"}
    assert settled_as("model", **row) == status
    assert settled_as("another", **row) is None
    assert settled_as(None, **row) is None
    assert settled_as("another", **{**row, "greennode_final": "row"}) == status
    # The run that wrote it knew better than its words.
    assert settled_as("model", **{**row, "error": "400 bad", "greennode_final": None}) is None


@pytest.mark.parametrize(
    ("status", "error", "custom_id", "is_final"),
    [
        ("refused", "I will not", "c", True),
        ("truncated", "cut off at max_tokens", "c", True),
        ("invalid_output", "answer: is too short", "c", False),
        ("failed", "400 invalid_request_error bad", "c", True),
        ("failed", "402 no credit", "c", False),
        ("unsent", "the prompt is empty", None, True),
        ("unsent", "over budget (max_cost 1)", "c", False),
        ("expired", None, "c", False),
        (None, None, None, False),
    ],
)
def test_of_a_row_of_a_version_before_its_words_tell(status, error, custom_id, is_final):
    row = {"status": status, "error": error, "custom_id": custom_id}
    for final_for, order in itertools.product(("model", "another"), (None, "1")):
        wanted = status if is_final and order is None else None
        assert settled_as(final_for, greennode_order=order, **row) == wanted
    assert settled_as(None, **row) is None
