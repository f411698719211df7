"""Metric events: which metric each event emits, once, unless the process is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from greennode_airflow.observability.metrics import (
    BATCHES_ENDED,
    BATCHES_SUBMITTED,
    COST,
    LIVE_COST,
    LIVE_TOKENS,
    POLL,
    POLL_ERRORS,
    REQUESTS,
    ROWS,
    SAVING,
    TOKENS,
    WAIT,
    Metric,
)
from greennode_batch.api.polling.polling import Done
from greennode_batch.errors import BusyError, CreditError, GreenNodeError
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import Receipt, read_receipt
from greennode_batch.state.run_report import RunReport

_Figures = dict[tuple[Metric, tuple[tuple[str, str], ...]], float]


@contextmanager
def submit_counted(shard: ShardFolder, *, dag_id: str, conn_id: str) -> Iterator[None]:
    """Count the outcome of a submit. A shard that has its batch already is not counted again."""
    before = read_receipt(shard)
    if before is not None and before.is_through:
        yield
        return
    outcome = "failed"
    try:
        yield
        after = read_receipt(shard)
        outcome = "answered" if after is not None and after.live is not None else "created"
    except BusyError:
        outcome = "no_room"
        raise
    except CreditError:
        outcome = "no_credit"
        raise
    finally:
        BATCHES_SUBMITTED.add(dag_id=dag_id, conn_id=conn_id, outcome=outcome)


def count_end(done: Done, *, dag_id: str, conn_id: str, created_at: float | None) -> None:
    """Count a wait that is over. created_at: the batch's, epoch seconds, if known."""
    status = (done.status if done.reason == "ended" else done.reason).lower()
    BATCHES_ENDED.add(dag_id=dag_id, conn_id=conn_id, status=status)
    if created_at is not None:
        WAIT.took(time.time() - created_at, dag_id=dag_id, conn_id=conn_id, status=status)


@contextmanager
def poll_timed(conn_id: str, call: str) -> Iterator[None]:
    """Time a call of the poller, and count it if it fails."""
    begin = time.monotonic()
    try:
        yield
    except GreenNodeError as error:
        POLL_ERRORS.add(conn_id=conn_id, call=call, error=type(error).__name__)
        raise
    finally:
        POLL.took(time.monotonic() - begin, conn_id=conn_id, call=call)


def count_requests(before: Receipt | None, counts: Mapping[str, int], *, dag_id: str, conn_id: str) -> None:
    """Count the requests of a shard, by status. before: its receipt, which shows whether they were counted before."""
    if before is None or before.state != "collected":
        for status, count in counts.items():
            REQUESTS.add(count, dag_id=dag_id, conn_id=conn_id, status=status)


def count_run(made: RunReport, before: RunReport | None, *, dag_id: str) -> None:
    """Count what a run's report adds to its earlier report: a run may be reported more than once."""
    told = _figures(before, dag_id) if before is not None else {}
    for (metric, tags), value in _figures(made, dag_id).items():
        more = value - told.get((metric, tags), 0)
        if more > 0:
            metric.add(more, **dict(tags))


def _figures(made: RunReport, dag_id: str) -> _Figures:
    figures: _Figures = {}
    for one in made.models:
        tags = {"dag_id": dag_id, "model": one.model}
        for status, count in one.statuses.items():
            figures[ROWS, _frozen(tags, status=status)] = count
        for kind in ("prompt", "cached", "completion", "reasoning"):
            figures[TOKENS, _frozen(tags, kind=kind)] = getattr(one, f"{kind}_tokens")
        for metric, value in ((COST, one.cost), (SAVING, one.saving)):
            if value is not None:
                figures[metric, _frozen(tags, currency=made.currency)] = value
    if made.live is not None:
        tags = {"dag_id": dag_id}
        for kind in ("prompt", "completion"):
            figures[LIVE_TOKENS, _frozen(tags, kind=kind)] = getattr(made.live, f"{kind}_tokens")
        if made.live.cost is not None:
            figures[LIVE_COST, _frozen(tags, currency=made.currency)] = made.live.cost
    return figures


def _frozen(tags: Mapping[str, str], **more: str) -> tuple[tuple[str, str], ...]:
    return tuple({**tags, **more}.items())
