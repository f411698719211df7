"""First-party imports stand at the top of their modules, but for those that would load Arrow, pandas or a driver."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import greennode_airflow
import greennode_batch

HEAVY = ["pandas", "psycopg", "pyarrow"]
# Module, and what it imports late without loading any of these: why.
REASONS = {
    ("greennode_airflow.pipeline", "greennode_airflow.operators.approve"): "few jobs need what asks a person",
    ("greennode_batch", "greennode_batch.frame"): "a task loads the engine, and none of this",
    ("greennode_batch", "greennode_batch.frame.enrich"): "for a type checker, which runs nothing",
}
# An import of one of these ends at once, so that one process can try all modules.
WHICH_ARE_HEAVY = f"""
import importlib, sys

class HeavyError(Exception):
    pass

class Refuse:
    def find_spec(self, name, path, target=None):
        if name in {HEAVY}:
            raise HeavyError(name)

import greennode_airflow.pipeline
assert sys.modules.keys().isdisjoint({HEAVY}), "a DAG file loads them"
sys.meta_path.insert(0, Refuse())
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except HeavyError:
        print(name)
"""


def late_imports(package: Path) -> Iterator[tuple[str, str]]:
    """Each first-party import of a package that is not at its module's top level: the module, what it imports."""
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        module = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        for node in set(ast.walk(tree)) - set(tree.body):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else names
            yield from ((module, name) for name in names if name.startswith("greennode_"))


def test_what_the_plugin_imports_late_loads_arrow_pandas_or_a_driver():
    late = set(late_imports(Path(greennode_airflow.__file__).parent)) - REASONS.keys()
    names = sorted({name for _, name in late})
    program = [sys.executable, "-W", "ignore", "-c", WHICH_ARE_HEAVY, *names]
    heavy = subprocess.run(program, check=True, capture_output=True, text=True).stdout.split()
    assert len(heavy) > 10
    assert {(module, name) for module, name in late if name not in heavy} == set()


def test_the_engine_imports_nothing_of_its_own_late():
    assert set(late_imports(Path(greennode_batch.__file__).parent)) - REASONS.keys() == set()
