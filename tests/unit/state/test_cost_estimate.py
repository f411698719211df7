import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.state.cost_estimate import Estimate, total


@given(st.lists(st.integers()))
def test_a_sum_is_known_where_all_its_numbers_are(numbers):
    assert total(numbers) == sum(numbers)
    assert total([*numbers, None]) is None


def words(**changes):
    fields = {
        "prompt_tokens": 1_000, "completion_tokens": 50, "max_completion_tokens": 500, "cost": 10.0, "max_cost": 30.0,
        "currency": "VND", "basis": "by 2 earlier runs",
    }  # fmt: skip
    return (
        str(Estimate(**fields | changes))
        .removeprefix("estimate: 1,000 prompt and ")
        .removesuffix(" (by 2 earlier runs)")
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "about 50 completion tokens (at most 500), about 10 VND (at most 30 VND)"),
        ({"completion_tokens": 500, "cost": 30.0}, "up to 500 completion tokens, about 30 VND"),
        ({"max_completion_tokens": None, "max_cost": None}, "about 50 completion tokens, about 10 VND"),
        (
            {"completion_tokens": None, "cost": None, "max_cost": None},
            "an unknown number of completion tokens, so the cost is unknown",
        ),
        (
            {"unpriced": ("m", "n"), "cost": None},
            "about 50 completion tokens (at most 500), no price known for m, n",
        ),
    ],
)
def test_it_says_what_is_likely_and_what_is_the_most(changes, said):
    assert words(**changes) == said
