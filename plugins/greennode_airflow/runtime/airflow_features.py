"""What only some of the supported versions of Airflow have. Each difference is found here, by what Airflow offers.

[Airflow versions](docs/reference/airflow-versions.md) has what follows where a feature is missing.
"""

from __future__ import annotations

from typing import Any, Literal

from airflow.sdk import Context
from airflow.sdk.configuration import conf
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils
from airflow.triggers.base import BaseTrigger
from pydantic import JsonValue

CALLS_ON_KILL = hasattr(BaseTrigger, "on_kill")
"""Airflow calls a trigger's `on_kill` if a person marks or clears its task; since 3.3."""

_STATS_ARE_FUNCTIONS = hasattr(stats, "incr")


def begin_stats() -> None:
    """Make `send_stat` of this process send where Airflow's settings say."""
    if _STATS_ARE_FUNCTIONS:
        legacy_names = conf.getboolean("metrics", "legacy_names_on")
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy_names)
    else:
        # Two signatures that the types of the newest version do not know.
        sender: Any = stats.Stats
        factory: Any = stats_utils.get_stats_factory
        sender.initialize(factory=factory(sender))


def send_stat(kind: Literal["incr", "timing"], name: str, value: Any, tags: dict[str, str]) -> None:
    """Send one figure of Airflow's metrics; `begin_stats` comes before."""
    # Before 3.3 the first look at an attribute of the class opens the socket, so none is kept.
    getattr(stats if _STATS_ARE_FUNCTIONS else stats.Stats, kind)(name, value, tags=tags)


def store_task_state(context: Context, key: str, value: JsonValue) -> None:
    """Store a value in the task's state of Airflow, which has none before 3.3."""
    store = context.get("task_state_store")
    if store is not None:
        store.set(key, value)
