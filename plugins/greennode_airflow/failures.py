"""Which errors fail a task at once, because a retry cannot mend them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from airflow.sdk.exceptions import AirflowFailException

from greennode_batch.errors import GreenNodeError

P = ParamSpec("P")
R = TypeVar("R")


def fail_without_retry(execute: Callable[P, R]) -> Callable[P, R]:
    """Fail the task at once for an error that is not retryable; Airflow retries it after any other."""

    @functools.wraps(execute)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return execute(*args, **kwargs)
        except GreenNodeError as error:
            if error.is_retryable:
                raise
            raise AirflowFailException(str(error)) from error

    return wrapped
