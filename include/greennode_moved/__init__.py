"""Old module paths of `greennode_batch` and `greennode_airflow`: each imports the module of today, and warns.

DAG files name modules, and Airflow's database holds the paths of callbacks, so a path that moves stays importable for
one release. Both packages import this one. When the release is over, this folder and those two imports go.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "greennode_airflow.alerts": "greennode_airflow.observability.alerts",
    "greennode_airflow.assets": "greennode_airflow.observability.assets",
    "greennode_airflow.probe_operator": "greennode_airflow.operators.probe",
    "greennode_airflow.retention_operator": "greennode_airflow.operators.clean_staging",
    "greennode_batch.evaluation": "greennode_batch.analysis.evaluation",
}


class _Alias(Loader):
    """Puts the module of today in the old one's place, so that both paths are one module with one state."""

    def __init__(self, new: str) -> None:
        self._new = new

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        if old in MOVED:
            warnings.warn(f"{old} is now {self._new}; the old path goes with the next release", DeprecationWarning, 2)
        sys.modules[old] = importlib.import_module(self._new)


class _MovedModules(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("greennode_"):
            return None
        for old, new in MOVED.items():
            if fullname == old or fullname.startswith(f"{old}."):
                return ModuleSpec(fullname, _Alias(new + fullname.removeprefix(old)))
        return None


# Before the finder of files, which would load a module of a moved package a second time, under its old name.
sys.meta_path.insert(0, _MovedModules())
