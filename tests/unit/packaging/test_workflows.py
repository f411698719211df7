"""The workflows: pinned, with the least rights, and of targets that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[3]
WORKFLOWS = sorted((PROJECT / ".github" / "workflows").iterdir())
MAKEFILE = (PROJECT / "Makefile").read_text()
CONFIGURATIONS = [
    PROJECT / ".github" / "dependabot.yml", *sorted((PROJECT / ".github" / "ISSUE_TEMPLATE").iterdir())
]  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    # YAML reads the key `on` as true.
    return {"on" if key is True else key: value for key, value in yaml.safe_load(path.read_text()).items()}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda one: one.name)
def test_every_action_is_pinned_to_a_commit_with_its_version_beside_it(path: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())
    foreign = [(action, rest) for action, rest in used if not action.startswith("./")]
    assert used
    assert [one for one in foreign if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", "".join(one))] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda one: one.name)
def test_a_workflow_may_only_read_and_ends_by_itself(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "uses" in job or (job["timeout-minutes"] and job["runs-on"] == "ubuntu-24.04")


def test_only_the_step_that_publishes_may_ask_for_an_identity() -> None:
    asking = [
        (path.name, name)
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
        if "permissions" in job
    ]  # fmt: skip
    assert asking == [("release.yaml", "publish")]


def test_every_target_that_a_workflow_makes_is_there() -> None:
    targets = {
        target
        for path in WORKFLOWS
        for target in re.findall(r"(?:target: |make )([a-z-]+)\b(?!:)", path.read_text())
        if target != "type"
    }
    assert {"lint", "coverage", "dist", "nightly"} <= targets
    assert [one for one in targets if not re.search(rf"^{one}:", MAKEFILE, re.MULTILINE)] == []


def test_a_value_of_an_event_never_becomes_part_of_a_script() -> None:
    scripts = [
        step["run"]
        for path in WORKFLOWS
        for job in read(path)["jobs"].values()
        for step in job.get("steps", [])
        if "run" in step
    ]
    assert scripts
    assert not [script for script in scripts if "${{" in script]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda one: one.name)
def test_a_configuration_is_yaml(path: Path) -> None:
    assert yaml.safe_load(path.read_text())
