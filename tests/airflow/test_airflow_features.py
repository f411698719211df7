"""What a version of Airflow lacks is passed by; the metrics that each sends are in test_metrics.py."""

from __future__ import annotations

from inspect import signature

from airflow.triggers.base import BaseTrigger

from greennode_airflow.runtime.airflow_features import CALLS_ON_KILL, begin_stats, send_stat, store_task_state
from greennode_airflow.triggers import GreenNodeBatchTrigger


def test_a_state_is_stored_where_airflow_has_a_store_and_is_no_error_elsewhere() -> None:
    stored: dict[str, object] = {}

    class Store:
        set = staticmethod(stored.__setitem__)

    store_task_state({}, "greennode", {"shard": "a"})
    store_task_state({"task_state_store": Store()}, "greennode", {"shard": "a"})
    assert stored == {"greennode": {"shard": "a"}}


def test_the_trigger_s_on_kill_is_airflow_s_where_it_has_one() -> None:
    own = signature(GreenNodeBatchTrigger.on_kill)
    assert list(own.parameters) == ["self"]
    assert not CALLS_ON_KILL or signature(BaseTrigger.on_kill) == own


def test_a_figure_goes_to_this_airflow_whatever_its_interface() -> None:
    begin_stats()
    send_stat("incr", "greennode.test", 1, {"dag_id": "d"})
    send_stat("timing", "greennode.test", 1.5, {"dag_id": "d"})
