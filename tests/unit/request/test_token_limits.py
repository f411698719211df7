from decimal import Decimal

import pytest

from greennode_batch.request.token_limits import TokenLimits
from greennode_batch.source.rows import Rows


def limits(values, params, row_params):
    batch = next(Rows.from_tuples(("n",), [[(value,) for value in values]]).batches)
    return TokenLimits(params, row_params).of_rows(batch)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    ("of_all", "column", "wanted"),
    [
        (None, None, [None, None, None]),
        (9, None, [9, 9, 9]),
        (None, "n", [5, None, 7]),
        (9, "n", [5, 9, 7]),
    ],
)
def test_a_row_has_the_limit_of_its_column_or_else_that_of_all(name, of_all, column, wanted):
    params = {} if of_all is None else {name: of_all}
    assert limits((5, None, Decimal(7)), params, {name: column} if column else {"seed": "n"}) == wanted


@pytest.mark.parametrize("said", ["9", True, 0, -1, [9], None])
def test_what_is_no_limit_is_the_servers_to_refuse_and_bounds_nothing(said):
    assert limits((1,), {"max_tokens": said}, {}) == [None]
    if said is not None:
        assert limits((said,), {"max_tokens": 9}, {"max_tokens": "n"}) == [None]


def test_of_both_names_the_later_one_counts():
    assert limits((1,), {"max_tokens": 5, "max_completion_tokens": 9}, {}) == [9]
