"""What a release holds: the provider, the engine, the emulator and the manual, and nothing of the tests' machinery."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).parents[3]
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
BUILD = [sys.executable, "-m", "hatchling", "build"]
PACKAGES = {"greennode_airflow", "greennode_batch", "greennode_emulator", "greennode_moved"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, as `make dist` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([*BUILD, "-d", str(folder)], check=True, cwd=PROJECT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def info(wheel: zipfile.ZipFile, file: str) -> str:
    (name,) = (one for one in wheel.namelist() if one.endswith(f".dist-info/{file}"))
    return wheel.read(name).decode()


def test_the_wheel_has_these_packages_and_the_manual(wheel: zipfile.ZipFile) -> None:
    folders = {name.partition("/")[0] for name in wheel.namelist()}
    assert {one for one in folders if not one.endswith(".dist-info")} == PACKAGES | {"greennode_manual"}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_the_wheel_has_every_file_of_a_package(wheel: zipfile.ZipFile, package: str) -> None:
    root = PROJECT / ("plugins" if package == "greennode_airflow" else "include")
    there = {
        path.relative_to(root).as_posix()
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there == {name for name in wheel.namelist() if name.startswith(f"{package}/")}
    assert f"{package}/py.typed" in there, "its annotations are for others too"


def test_the_wheel_has_the_pages_of_the_manual_with_their_pictures(wheel: zipfile.ZipFile) -> None:
    docs = PROJECT / "docs"
    shown = {path.relative_to(docs).as_posix() for path in docs.rglob("*") if path.suffix in {".md", ".png", ".svg"}}
    assert shown <= {name.removeprefix("greennode_manual/") for name in wheel.namelist()}
    assert not [name for name in wheel.namelist() if name.startswith("greennode_manual/") and name.endswith(".py")]


def test_airflow_and_the_shell_find_what_the_wheel_registers(wheel: zipfile.ZipFile) -> None:
    registered = info(wheel, "entry_points.txt")
    for group in ("[apache_airflow_provider]", "[airflow.plugins]", "[console_scripts]"):
        assert group in registered
    modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in wheel.namelist()}
    assert set(re.findall(r"= ([\w.]+):", registered)) <= modules


def test_its_version_is_the_one_of_pyproject_and_of_the_changelog(wheel: zipfile.ZipFile) -> None:
    metadata = Parser().parsestr(info(wheel, "METADATA"))
    assert metadata["Version"] == DECLARED["version"]
    changelog = (PROJECT / "CHANGELOG.md").read_text()
    is_release = re.fullmatch(r"[\d.]+", DECLARED["version"])
    assert f"## [{DECLARED['version'] if is_release else 'Unreleased'}]" in changelog


def test_an_extra_is_something_that_the_code_or_airflow_has() -> None:
    extras = {"azure", "celery", "gcs", "otel", "polars", "statsd", "tokenizer", "dev"}
    assert set(DECLARED["optional-dependencies"]) == extras


def test_the_source_distribution_builds_the_same_wheel(built: Path, wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert not {"tests", "benchmarks", "dags", ".github"} & {one.name for one in source.iterdir()}
    subprocess.run([*BUILD, "-t", "wheel", "-d", str(tmp_path)], check=True, cwd=source)
    (again,) = tmp_path.glob("*.whl")
    assert zipfile.ZipFile(again).namelist() == wheel.namelist()


def test_the_metadata_is_what_a_package_index_takes(built: Path) -> None:
    twine = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    done = subprocess.run(twine, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
