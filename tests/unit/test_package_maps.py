"""Each package's docstring is a map of its folder."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ROOTS = [
    "include/greennode_batch",
    "include/greennode_emulator",
    "include/greennode_faults",
    "include/greennode_local",
    "plugins/greennode_airflow",
]
PACKAGES = sorted(
    init.parent.relative_to(PROJECT).as_posix() for root in ROOTS for init in (PROJECT / root).rglob("__init__.py")
)
# `name, name    words`: the first column of a map.
_FIRST_COLUMN = re.compile(r"^ {0,4}(?P<names>\w+/?(?:, \w+/?)*)(?: {2,}\S|$)", re.MULTILINE)


def _contents(folder: Path) -> set[str]:
    modules = {module.stem for module in folder.glob("*.py") if not module.stem.startswith("__")}
    packages = {f"{init.parent.name}/" for init in folder.glob("*/__init__.py")}
    return modules | packages


def _map(folder: Path) -> str:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert text, f"{folder}: the package has no docstring"
    return text


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_s_map_names_all_that_its_folder_has(package: str) -> None:
    folder = PROJECT / package
    text = _map(folder)
    named = set(re.findall(r"\w+/|\w+", text))
    assert not _contents(folder) - named, "modules that the map does not name"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_s_map_names_nothing_else(package: str) -> None:
    folder = PROJECT / package
    listed = {name for match in _FIRST_COLUMN.finditer(_map(folder)) for name in match["names"].split(", ")}
    there = _contents(folder) | {f"{path.name}/" for path in folder.iterdir() if path.is_dir()}
    assert not listed - there, "names that are not in the folder"
