"""Which errors fail a task at once, because a retry cannot mend them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from airflow.sdk.exceptions import AirflowFailException

from greennode_batch.errors import (
    AccountingError,
    BudgetError,
    ConfigError,
    CreditError,
    FailedRowsError,
    RejectedError,
)

P = ParamSpec("P")
R = TypeVar("R")


def fail_without_retry(execute: Callable[P, R]) -> Callable[P, R]:
    """Fail the task for a wrong declaration, a refusal, want of money or rows that do not add up; retry the rest."""

    @functools.wraps(execute)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return execute(*args, **kwargs)
        except (ConfigError, RejectedError, BudgetError, CreditError, AccountingError, FailedRowsError) as error:
            raise AirflowFailException(str(error)) from error

    return wrapped
