import pytest

from greennode_batch.state.systematic_failure import fails_systematically


@pytest.mark.parametrize(
    ("requests", "answered", "fails"),
    [(0, 0, False), (19, 0, False), (20, 10, False), (20, 9, True), (21, 10, True), (1000, 499, True)],
)
def test_a_run_fails_if_over_half_of_its_requests_and_of_at_least_twenty_get_no_answer(requests, answered, fails):
    assert fails_systematically(requests, answered) is fails
