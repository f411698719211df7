"""Dataset paths: the parts of a job's targets that Airflow renders, which are the paths of datasets and the tables.

Apart from `target_access`, to keep DAG files light.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from greennode_batch.errors import ConfigError
from greennode_batch.job.targets import SqlTarget, Target


def dataset_paths(targets: Sequence[Target]) -> list[str]:
    """The table or the path of each target, for an operator to render."""
    paths = [target.table if isinstance(target, SqlTarget) else target.path for target in targets]
    _check(targets, paths)
    return paths


def with_paths(targets: Sequence[Target], paths: Sequence[str]) -> list[Target]:
    """The targets with the tables and paths that Airflow has rendered."""
    _check(targets, paths)
    return [
        dataclasses.replace(target, table=path)
        if isinstance(target, SqlTarget)
        else dataclasses.replace(target, path=path)
        for target, path in zip(targets, paths, strict=True)
    ]


def _check(targets: Sequence[Target], paths: Sequence[str]) -> None:
    for target, path in zip(targets, paths, strict=True):
        if not isinstance(target, SqlTarget) and path.endswith(".parquet"):
            raise ConfigError(
                f"target {path}: in Airflow, shards are written side by side into a folder; name a folder, without "
                ".parquet"
            )
