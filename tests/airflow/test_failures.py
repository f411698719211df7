from __future__ import annotations

import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    AirflowTaskTimeout,
)
from airflow.sdk.log import mask_secret

from greennode_airflow.failures import FAILURE_KEY, fail_without_retry
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


class Told:
    """A task instance that keeps what is pushed."""

    def __init__(self):
        self.pushed = {}

    def xcom_push(self, *, key, value):
        self.pushed[key] = value


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (CreditError("no credit left", status=402), "CreditError", "no credit left"),
        (OSError("disk full"), "OSError", "disk full"),
        (ExceptionGroup("2 shards failed: a; b", [RowError("a"), RowError("b")]), "RowError", "2 shards failed: a; b"),
        (ExceptionGroup("2 shards failed: a; b", [RowError("a"), OSError("b")]), "", "2 shards failed: a; b"),
        (AirflowTaskTimeout("Timeout, PID: 1"), "AirflowTaskTimeout", "Timeout, PID: 1"),
        (KeyError(), "KeyError", "KeyError()"),
    ],
)
def test_a_task_that_fails_notes_its_sentence_for_the_page(error, kind, words):
    task = Told()

    @fail_without_retry
    def execute(context):
        raise error

    with pytest.raises((type(error), AirflowFailException)):
        execute({"ti": task})
    assert task.pushed == {FAILURE_KEY: {"kind": kind, "error": words}}


def test_a_secret_that_airflow_masks_is_not_noted():
    task = Told()
    mask_secret("hunter2-of-mine")

    @fail_without_retry
    def execute(context):
        raise OSError("could not log in with hunter2-of-mine")

    with pytest.raises(OSError, match="could not"):
        execute({"ti": task})
    assert "hunter2" not in str(task.pushed)


@pytest.mark.parametrize("error", [AirflowSkipException("nothing to do"), AirflowRescheduleException(None)])
def test_what_is_no_failure_notes_nothing(error):
    task = Told()

    @fail_without_retry
    def execute(context):
        raise error

    with pytest.raises(type(error)):
        execute({"ti": task})
    assert task.pushed == {}


def test_a_task_fails_with_its_own_error_where_nothing_can_be_noted():
    class Deaf:
        def xcom_push(self, **_):
            raise RuntimeError("no API")

    @fail_without_retry
    def execute(context):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        execute({"ti": Deaf()})
