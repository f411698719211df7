import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.plan import repeated_requests
from greennode_batch.plan.repeated_requests import PutAside, RepeatedRequests
from greennode_batch.request.request_lines import RequestLines


def put_aside(ids):
    count = len(ids)
    requests = RequestLines("m", ids, [b"x" * 10] * count, [1] * count, [9] * count, [None] * count, {})
    return PutAside(pa.table({"custom_id": pa.array(ids, pa.string())}), requests)


@pytest.mark.parametrize("limit", [{"_TOGETHER": 5}, {"_TOGETHER_BYTES": 200}])
@given(lots=st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=8))
def test_all_come_back_as_they_were_some_at_a_time(tmp_path_factory, limit, lots):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in limit.items():
            patch.setattr(repeated_requests, name, value)
        repeated = RepeatedRequests(tmp_path_factory.mktemp("work"))
        for ids in lots:
            repeated.add(put_aside(ids))
        together = list(repeated.take())
    assert [some for lot in together for some in lot] == [put_aside(ids) for ids in lots]
    assert all(sum(some.rows.num_rows for some in lot[:-1]) < 20 for lot in together)
    if sum(map(len, lots)) > 20:
        assert len(together) > 1


def test_where_nothing_was_put_aside_there_is_nothing(tmp_path):
    assert list(RepeatedRequests(tmp_path).take()) == []
