"""Assets: a job's targets as Airflow assets, so that other DAGs can run when there are new rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Asset

from greennode_batch.job.sources import Source, SqlSource
from greennode_batch.job.targets import SqlTarget, Target
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.actual_cost import TOKEN_COLUMNS
from greennode_batch.state.run_report import RunReport

_TOLD = ("run_id", "rows", "unchanged", "remembered", "statuses", *TOKEN_COLUMNS, "cost", "saving", "currency")


def asset_of(target: Target) -> Asset:
    """The asset of a target, as declared: `schedule=[asset_of(JOB.target)]` runs a DAG after each run of the job.

    A table is identified by its connection and name, a dataset by its path, which is not rendered.
    """
    if isinstance(target, SqlTarget):
        return _table(target.conn_id, target.table)
    return Asset(name=target.path, uri=target.path)


def assets_of(source: Source) -> list[Asset]:
    """The assets that a source reads: the tables that it names, or its path. A job's target is the same asset here."""
    if isinstance(source, SqlSource):
        return [_table(source.conn_id, table) for table in source.tables]
    return [Asset(name=source.path, uri=source.path)]


def event_extra(made: RunReport, run: RunFolder) -> Mapping[str, Any]:
    """The extra data of the event of a good run: counts and money, and the path of its report."""
    return {**{name: getattr(made, name) for name in _TOLD}, "report": str(run.report)}


def _table(conn_id: str, table: str) -> Asset:
    return Asset(name=f"{conn_id}.{table}", uri=f"greennode://{conn_id}/{table}")
