from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from greennode_airflow.observability import metrics
from greennode_airflow.observability.metric_events import count_end, count_run
from greennode_airflow.observability.metrics import POLL_ERRORS, ROWS, RUNS_LATE, WAIT, tag_value
from greennode_airflow.triggers import GreenNodeBatchTrigger
from greennode_batch.api.polling.polling import Done
from greennode_batch.state.actual_cost import LiveCost, ModelCost
from greennode_batch.state.run_report import RunReport
from greennode_emulator.server import RunningEmulator

PROJECT = Path(__file__).parents[2]
METRICS = [one for one in vars(metrics).values() if isinstance(one, metrics.Metric)]
Statsd = Callable[[], list[str]]


def a_report(*, succeeded: int, failed: int, tokens: int, cost: float | None) -> RunReport:
    actual_cost = {"completion_tokens": tokens, "cost": cost, "saving": cost}
    statuses = {"succeeded": succeeded, "failed": failed}
    model = ModelCost(model="m/1", requests=5, statuses=statuses, **actual_cost)
    return RunReport(
        job="j",
        run_id="r",
        rows=5,
        requests=5,
        shards=1,
        statuses=statuses,
        prompt_tokens=0,
        models=(model,),
        currency="VND",
        **actual_cost,
    )


def test_the_mapping_for_prometheus_has_each_of_them_under_airflows_prefix() -> None:
    mapping = yaml.safe_load((PROJECT / "docker/statsd-mapping.yaml").read_text())["mappings"]
    assert [(one["match"], one["match_metric_type"], one["name"]) for one in mapping] == [
        (f"airflow.{metric.name}", kinds[0], f"{metric.name.replace('.', '_')}_{kinds[1]}")
        for metric in METRICS
        for kinds in [{"counter": ("counter", "total"), "timer": ("observer", "seconds")}[metric.kind]]
    ]


def test_what_was_answered_live_is_counted_apart_as_well(statsd: Statsd) -> None:
    made = a_report(succeeded=3, failed=0, tokens=10, cost=0.25)
    live = LiveCost(prompt_tokens=4, completion_tokens=5, cost=0.125, saving=0.0, requests=1, may_be_paid_twice=0)
    count_run(msgspec.structs.replace(made, live=live), made, dag_id="d")
    assert statsd() == [
        "airflow.greennode.live_tokens,dag_id=d,kind=prompt:4|c",
        "airflow.greennode.live_tokens,dag_id=d,kind=completion:5|c",
        "airflow.greennode.live_cost,dag_id=d,currency=VND:0.125|c",
    ]


def test_a_report_that_is_made_again_counts_what_is_new_in_it(statsd: Statsd) -> None:
    first = a_report(succeeded=3, failed=2, tokens=10, cost=0.25)
    count_run(first, None, dag_id="d")
    assert statsd() == [
        "airflow.greennode.rows,dag_id=d,model=m/1,status=succeeded:3|c",
        "airflow.greennode.rows,dag_id=d,model=m/1,status=failed:2|c",
        "airflow.greennode.tokens,dag_id=d,model=m/1,kind=completion:10|c",
        "airflow.greennode.cost,dag_id=d,model=m/1,currency=VND:0.25|c",
        "airflow.greennode.saving,dag_id=d,model=m/1,currency=VND:0.25|c",
    ]
    count_run(first, first, dag_id="d")
    assert statsd() == []
    count_run(a_report(succeeded=5, failed=0, tokens=12, cost=None), first, dag_id="d")
    assert statsd() == [
        "airflow.greennode.rows,dag_id=d,model=m/1,status=succeeded:2|c",
        "airflow.greennode.tokens,dag_id=d,model=m/1,kind=completion:2|c",
    ]


def test_a_wait_is_told_in_milliseconds_and_by_why_it_is_over(statsd: Statsd) -> None:
    count_end(Done("ended", "COMPLETED"), dag_id="d", conn_id="c", created_at=time.time() - 90)
    count_end(Done("forgotten"), dag_id="d", conn_id="c", created_at=None)
    ended, wait, forgotten = statsd()
    assert ended == "airflow.greennode.batches_ended,dag_id=d,conn_id=c,status=completed:1|c"
    name, _, value = wait.partition(":")
    assert name == "airflow.greennode.wait,dag_id=d,conn_id=c,status=completed"
    assert float(value.removesuffix("|ms")) >= 90_000
    assert forgotten == "airflow.greennode.batches_ended,dag_id=d,conn_id=c,status=forgotten:1|c"


async def test_polls_and_waits_are_told_from_the_triggerer_where_airflow_sets_up_no_metrics_for_them(
    statsd: Statsd, connection: RunningEmulator, make_batch: Callable[[], str]
) -> None:
    batch_id = make_batch()
    connection.faults([{"endpoint": "GET /batches/{id}", "kind": "status", "status": 500, "count": 1}])
    trigger = GreenNodeBatchTrigger("greennode_default", batch_id, time.time() + 60, "cancel", ["COMPLETED"])
    assert [event async for event in trigger.run()]
    told = [line.rpartition(":")[0] for line in statsd()]
    assert told[:2] == [
        "airflow.greennode.poll_errors,conn_id=greennode_default,call=get,error=RetryableError",
        "airflow.greennode.poll,conn_id=greennode_default,call=get",
    ]
    assert "airflow.greennode.wait,dag_id=none,conn_id=greennode_default,status=completed" in told


@given(st.text())
def test_a_tags_value_is_short_and_plain(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_./-]{1,60}", tag_value(text))


def test_a_name_with_tags_as_long_as_they_get_is_still_taken_by_airflow(statsd: Statsd) -> None:
    for metric in METRICS:
        metric._send("incr", 1, dict.fromkeys(metric.tags, "x" * 500))
    assert len(statsd()) == len(METRICS)


@pytest.mark.parametrize(("name", "value"), [("PORT", "none"), ("HOST", "no-such-host.invalid")])
def test_a_server_that_cannot_be_told_fails_nothing(
    name: str, value: str, statsd: Statsd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AIRFLOW__METRICS__STATSD_{name}", value)
    ROWS.add(3, dag_id="d", model="m", status="succeeded")
    WAIT.took(3, dag_id="d", conn_id="c", status="completed")
    assert statsd() == []


def test_without_a_server_nothing_is_sent(statsd: Statsd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "False")
    RUNS_LATE.add(dag_id="d")
    POLL_ERRORS.add(conn_id="c", call="get", error="AuthError")
    assert statsd() == []
