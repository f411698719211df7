"""Assets: a job's target as Airflow knows it, so that a DAG can be scheduled on what another one writes."""

from __future__ import annotations

from airflow.sdk import Asset

from greennode_batch.job import SqlTarget


def asset_of(target: SqlTarget) -> Asset:
    """The asset that stands for a table; `schedule=[asset_of(JOB.target)]` runs a DAG each time it was written."""
    return Asset(name=f"{target.conn_id}.{target.table}", uri=f"greennode://{target.conn_id}/{target.table}")
