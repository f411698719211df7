from __future__ import annotations

import logging

import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowRescheduleException,
    AirflowSkipException,
    AirflowTaskTimeout,
)
from airflow.sdk.log import mask_secret
from upath import UPath

from greennode_airflow.failures import FAILURE_KEY, ShardFailures, fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_batch.errors import AuthError, CreditError, GreenNodeError, RowError
from greennode_batch.staging.folders import ShardFolder


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
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("error", [PassingError("why"), AuthError("why", status=401), OSError("why")])
def test_airflow_retries_whatever_else_is_raised(error):
    with pytest.raises(type(error)) as raised:
        execute(error)
    assert raised.value is error


def test_a_connection_that_does_not_exist_is_not_waited_for(monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_SHOPP", raising=False)
    with pytest.raises(AirflowFailException, match=r"`shopp` isn't defined. Add it in Admin > Connections"):
        fail_without_retry(lambda: GreenNodeHook().get_connection("shopp"))()


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
        (
            AirflowNotFoundException("The conn_id `shopp` isn't defined"),
            "ConfigError",
            "The conn_id `shopp` isn't defined. Add it in Admin > Connections, or correct the job; then clear the task",
        ),
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


class Log:
    """What Airflow writes of a task that failed: the error with its traceback and all that led to it."""

    def __init__(self, caplog):
        self._caplog = caplog

    def of(self, execute):
        self._caplog.set_level(logging.INFO)
        try:
            execute()
        except Exception:
            logging.getLogger("task").exception("Task failed with exception")
        return self._caplog.text


def deep():
    try:
        {}["column"]
    except KeyError as error:
        raise LastingError("no such column; take another") from error


@pytest.mark.parametrize("error", [LastingError("sentence one; do this"), PassingError("sentence one; do this")])
def test_the_sentence_stands_once_in_the_log_and_no_code_of_ours_is_shown(caplog, error):
    @fail_without_retry
    def task():
        try:
            deep()
        except LastingError as first:
            raise error from first

    said = Log(caplog).of(task)
    assert said.count("sentence one; do this") == 1
    assert "deep" not in said
    assert "no such column" not in said


def test_an_error_that_is_not_ours_keeps_where_it_comes_from(caplog):
    @fail_without_retry
    def task():
        {}["column"]

    assert "in task" in Log(caplog).of(task)


@pytest.mark.parametrize("count", [1, 3])
def test_the_error_of_an_only_shard_is_what_the_task_fails_with_and_others_are_said_as_they_come(
    caplog, count, tmp_path
):
    @fail_without_retry
    def task():
        failures = ShardFailures(count)
        for number in range(count):
            with failures.held(ShardFolder(UPath(tmp_path / f"shard-{number}"))):
                raise LastingError(f"sentence {number}")
        failures.raise_all()

    said = Log(caplog).of(task)
    if count == 1:
        assert said.count("sentence 0") == 1
        return
    assert "Shard shard-1 of 3 failed: sentence 1" in said
    assert "AirflowFailException: 3 shards failed: sentence 0; sentence 1; sentence 2\n" in said
    assert all(said.count(f"sentence {number}") == 2 for number in range(count))
