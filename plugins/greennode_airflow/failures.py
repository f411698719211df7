"""Failures: which errors fail a task at once, their sentences for the page, and what failed of a group of shards."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from airflow.providers.common.compat.sdk import redact
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from greennode_batch.errors import GreenNodeError
from greennode_batch.staging.folders import ShardFolder

log = logging.getLogger(__name__)

FAILURE_KEY = "greennode_failure"
"""The XCom of a task that failed: {"kind": the error's class, "error": its sentence}. A retry of the task clears it."""
_MAX_CHARACTERS = 2_000

P = ParamSpec("P")
R = TypeVar("R")


def fail_without_retry(execute: Callable[P, R]) -> Callable[P, R]:
    """Fail the task at once for an error that is not retryable; Airflow retries it after any other.

    Of several errors together one that is retryable is enough. The sentence of any is noted for the page.
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
        except (Exception, AirflowTaskTimeout) as error:
            _note(error, [*args, *kwargs.values()])
            raise

    return wrapped


def _note(error: BaseException, arguments: list[Any]) -> None:
    """Leave the sentence of an error where the page finds it. The error counts, whether that works or not."""
    task = next((one["ti"] for one in arguments if isinstance(one, Mapping) and "ti" in one), None)
    if task is None:
        return
    several = error.exceptions if isinstance(error, ExceptionGroup) else [error]
    kinds = {type(one).__name__ for one in several}
    # As Airflow does in the log.
    said = str(redact(_words(error)))[:_MAX_CHARACTERS]
    try:
        task.xcom_push(key=FAILURE_KEY, value={"kind": kinds.pop() if len(kinds) == 1 else "", "error": said})
    except Exception:
        log.info("The page will not show why this task failed; its log does", exc_info=True)


def _words(error: BaseException) -> str:
    return str(error.args[0]) if isinstance(error, ExceptionGroup) else str(error) or repr(error)


def _without_frames(error: Exception) -> Exception:
    """The error with nothing for Airflow's log to show but its sentence: that says what to do, and our code does not.

    An error that is not ours keeps all that tells where it comes from.
    """
    several = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
    for one in several:
        if isinstance(one, GreenNodeError):
            one.__traceback__, one.__cause__, one.__suppress_context__ = None, None, True
    return error


class ShardFailures:
    """What failed of the shards of one task: each has its turn, whatever became of those before it.

    shards: how many the task has. The error of its only one is not logged here: it is what the task fails with.
    """

    def __init__(self, shards: int) -> None:
        self._errors: list[Exception] = []
        self._shards = shards

    @contextmanager
    def held(self, shard: ShardFolder) -> Iterator[None]:
        """Hold an error of this shard back until the others are done."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - it is raised at the end
            if self._shards > 1:
                log.error("Shard %s of %d failed: %s", shard.shard_id, self._shards, error)  # noqa: TRY400 - see above
            self._errors.append(error)

    def __bool__(self) -> bool:
        """Whether something has failed."""
        return bool(self._errors)

    def raise_all(self) -> None:
        """Raise what was held back: the error itself, or all of several together."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            words = dict.fromkeys(str(error) or repr(error) for error in self._errors)
            raise ExceptionGroup(f"{len(self._errors):,} shards failed: {'; '.join(words)}", self._errors)


def _is_retryable(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return any(map(_is_retryable, error.exceptions))
    return not isinstance(error, GreenNodeError) or error.is_retryable
