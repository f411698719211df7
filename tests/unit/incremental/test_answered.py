import pyarrow as pa

from greennode_batch.incremental.answered import is_answered
from greennode_batch.state.row_status import RowStatus


def test_a_row_that_succeeded_is_answered_and_no_other():
    statuses = [*RowStatus, "of another version", None]
    rows = pa.table({"status": pa.array(statuses, pa.string())})
    told = dict(zip(statuses, is_answered(rows).to_pylist(), strict=True))
    assert {status for status, answered in told.items() if answered is not False} == {RowStatus.SUCCEEDED}
