"""Failures: what is tried again and what fails a task at once, its sentence for the page, the failures of shards."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from airflow.providers.common.compat.sdk import redact
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowRescheduleException,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from greennode_batch.errors import ConfigError, GreenNodeError
from greennode_batch.staging.folders import ShardFolder

log = logging.getLogger(__name__)

FAILURE_KEY = "greennode_failure"
"""The XCom of a task that failed: {"kind": the error's class, "error": its sentence}. A retry of the task clears it."""
_MAX_CHARACTERS = 2_000

RETRIES = {
    "retries": 5,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
}
"""Default arguments of the tasks: an outage of some minutes is waited out, and nothing is paid for it."""

P = ParamSpec("P")
R = TypeVar("R")


def fail_without_retry(execute: Callable[P, R]) -> Callable[P, R]:
    """Fail the task at once for an error that is not retryable; after any other, Airflow retries it.

    A connection that does not exist is not retryable. If several errors come together, one retryable one is enough. The
    sentence of every error is recorded for the page.
    """

    @functools.wraps(execute)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return execute(*args, **kwargs)
        except (AirflowSkipException, AirflowRescheduleException):
            raise
        except (GreenNodeError, ExceptionGroup) as error:
            _note(error, [*args, *kwargs.values()])
            log.debug("Where the task failed", exc_info=error)
            if not _is_retryable(error):
                raise AirflowFailException(_words(error)) from None
            raise _without_frames(error) from None
        except AirflowNotFoundException as error:
            missing = ConfigError(f"{error}. Add it in Admin > Connections, or correct the job; then clear the task")
            _note(missing, [*args, *kwargs.values()])
            raise AirflowFailException(str(missing)) from None
        except (Exception, AirflowTaskTimeout) as error:
            _note(error, [*args, *kwargs.values()])
            raise

    return wrapped


def _note(error: BaseException, arguments: list[Any]) -> None:
    """Record the sentence of an error for the page. The error is raised whether that works or not."""
    task = next((one["ti"] for one in arguments if isinstance(one, Mapping) and "ti" in one), None)
    if task is None:
        return
    several = error.exceptions if isinstance(error, ExceptionGroup) else [error]
    kinds = {type(one).__name__ for one in several}
    # As in Airflow's log.
    said = str(redact(_words(error)))[:_MAX_CHARACTERS]
    try:
        task.xcom_push(key=FAILURE_KEY, value={"kind": kinds.pop() if len(kinds) == 1 else "", "error": said})
    except Exception:
        log.info("The page will not show why this task failed; its log does", exc_info=True)


def _words(error: BaseException) -> str:
    return str(error.args[0]) if isinstance(error, ExceptionGroup) else str(error) or repr(error)


def _without_frames(error: Exception) -> Exception:
    """The error, with only its sentence for Airflow's log: that says what to do; a stack trace of our code does not.

    An error that is not ours keeps its stack trace and causes.
    """
    several = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
    for one in several:
        if isinstance(one, GreenNodeError):
            one.__traceback__, one.__cause__, one.__suppress_context__ = None, None, True
    return error


class ShardFailures:
    """The errors of one task's shards: each shard gets its turn, whatever happened to those before it.

    shards: how many the task has. The error of a single shard is not logged here: the task fails with it.
    """

    def __init__(self, shards: int) -> None:
        self._errors: list[Exception] = []
        self._shards = shards

    @contextmanager
    def held(self, shard: ShardFolder) -> Iterator[None]:
        """Hold back an error of this shard until the others are done."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - it is raised at the end
            if self._shards > 1:
                log.error("Shard %s of %d failed: %s", shard.shard_id, self._shards, error)  # noqa: TRY400 - see above
            self._errors.append(error)

    def __bool__(self) -> bool:
        """Whether something has failed."""
        return bool(self._errors)

    @property
    def errors(self) -> list[Exception]:
        """What was held back."""
        return list(self._errors)

    def raise_retryable(self) -> None:
        """Raise the first of those that another try may not have."""
        for error in self._errors:
            if _is_retryable(error):
                raise error

    def raise_all(self) -> None:
        """Raise the errors that were held back: the error itself, or all of several together."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            words = dict.fromkeys(str(error) or repr(error) for error in self._errors)
            raise ExceptionGroup(f"{len(self._errors):,} shards failed: {'; '.join(words)}", self._errors)


def _is_retryable(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return any(map(_is_retryable, error.exceptions))
    return not isinstance(error, GreenNodeError) or error.is_retryable
