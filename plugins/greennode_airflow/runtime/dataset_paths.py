"""Dataset paths: the parts of a job's targets that Airflow renders. Apart from `targets`, to keep DAG files light."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from greennode_batch.errors import ConfigError
from greennode_batch.job.targets import FileTarget, Target


def dataset_paths(targets: Sequence[Target]) -> list[str]:
    """The paths of the datasets among the targets, for an operator to render."""
    paths = [target.path for target in targets if isinstance(target, FileTarget)]
    for path in paths:
        _refuse_file(path)
    return paths


def with_paths(targets: Sequence[Target], paths: Sequence[str]) -> list[Target]:
    """The targets with the paths that Airflow has rendered."""
    for path in paths:
        _refuse_file(path)
    rendered = iter(paths)
    return [
        dataclasses.replace(target, path=next(rendered)) if isinstance(target, FileTarget) else target
        for target in targets
    ]


def _refuse_file(path: str) -> None:
    if path.endswith(".parquet"):
        raise ConfigError(
            f"target {path}: in Airflow, shards are written side by side into a folder; name a folder, without .parquet"
        )
