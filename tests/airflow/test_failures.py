from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowFailException

from greennode_airflow.failures import fail_without_retry
from greennode_batch.errors import AuthError, CreditError, GreenNodeError, RowError


class PassingError(GreenNodeError):
    pass


class LastingError(GreenNodeError):
    is_retryable = False


@fail_without_retry
def execute(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [LastingError("why"), RowError("why", row=3), CreditError("why", status=402)])
def test_a_task_fails_at_once_where_a_retry_cannot_help(error):
    with pytest.raises(AirflowFailException, match=r"^why$") as raised:
        execute(error)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [PassingError("why"), AuthError("why", status=401), OSError("why")])
def test_airflow_retries_whatever_else_is_raised(error):
    with pytest.raises(type(error)) as raised:
        execute(error)
    assert raised.value is error
