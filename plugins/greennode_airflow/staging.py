"""Where a DAG run's files lie: Airflow's configuration and the run's ids become a folder of the staging area."""

from __future__ import annotations

from typing import cast

from airflow.sdk import Context, ObjectStoragePath
from airflow.sdk.configuration import conf
from upath import UPath

from greennode_batch.staging import RunFolder, ShardFolder, run_folder


def run_of(context: Context, prefix: str = "") -> RunFolder:
    """The folder of the run that a task belongs to.

    prefix: tells apart several pipelines of one DAG (the task group's id).
    """
    root = conf.get("greennode", "staging")
    run = context["dag_run"]
    return run_folder(_storage(root), f"{run.dag_id}.{prefix}" if prefix else run.dag_id, run.run_id)


def shard_at(path: str) -> ShardFolder:
    """A shard's folder, by the path that build_requests handed on."""
    return ShardFolder(_storage(path))


def _storage(path: str) -> UPath:
    return cast("UPath", ObjectStoragePath(path))
