"""When a step is worse than that of another commit, and that both are measured, and nothing is left behind."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
BENCHMARKS = PROJECT / "benchmarks"


@pytest.fixture
def against(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("against")


@pytest.fixture
def rounds(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("rounds")


def _turns(against, cpu, memory=(1.0,)):
    """Turns with these ratios; theirs doubles each time, as on a machine that gets busier."""
    return [
        against.Turn(
            against.Cost(times * 2**number, 100.0 * memory[number % len(memory)]), against.Cost(2**number, 100.0)
        )
        for number, times in enumerate(cpu)
    ]


def test_the_ratio_is_the_median_of_the_rounds_ratios_not_the_ratio_of_medians(against):
    assert against.ratio(_turns(against, [1.0, 9.0, 1.1], [1.0, 1.2, 1.3])) == pytest.approx((1.1, 1.2))


@pytest.mark.parametrize(
    ("first", "second", "worse"),
    [
        (([1.04],), None, set()),
        (([1.05],), None, set()),
        (([1.06],), ([1.06],), {"cpu_seconds"}),
        (([1.5],), ([1.05],), set()),
        (([0.5],), None, set()),
        (([1.0], [1.06]), ([1.0], [1.07]), {"peak_mb"}),
        (([1.06], [1.0]), ([1.0], [1.06]), set()),
        (([1.06], [1.06]), ([1.06], [1.06]), {"cpu_seconds", "peak_mb"}),
        (([1.0, 1.0, 1.0, 1.0, 9.0, 9.0, 9.0],), None, set()),
        (([1.0, 1.0, 1.0, 1.1, 9.0, 9.0, 9.0],), ([1.1, 1.1, 0.1],), {"cpu_seconds"}),
    ],
)
def test_a_step_is_worse_only_if_the_same_median_is_over_the_limit_both_times(against, first, second, worse):
    found = against.Comparison(1, first={"build": _turns(against, *first)})
    assert bool(against.over(found.first["build"])) == (second is not None)
    if second is not None:
        found.second["build"] = _turns(against, *second)
    assert found.worse("build") == worse
    assert found.is_worse == bool(worse)
    line = next(line for line in against.against_table(found, "abc", {}) if line.startswith("  build"))
    assert ("worse" in line) == bool(worse)


def test_a_round_of_some_sections_has_the_steps_that_they_read_from(rounds, tmp_path):
    one = rounds.Round(tmp_path, None, is_first=False)
    sections = {step.name: section for section, step in rounds.steps_of(one)}
    assert [step.name for _, step in rounds.steps_of(one, {sections["engine_steps.report_files"]})] == [
        "floor.build_from_file",
        "engine_steps.build_from_file",
        "engine_steps.collect",
        "floor.write_to_files",
        "engine_steps.write_to_files",
        "engine_steps.report_files",
    ]
    assert [step.name for _, step in rounds.steps_of(one, {sections["engine_steps.build_from_file"]})] == [
        "floor.build_from_file",
        "engine_steps.build_from_file",
    ]


def test_staging_is_cleared_right_before_a_build_and_not_sooner(rounds, tmp_path):
    staging = tmp_path / "engine" / "staging"
    staging.mkdir(parents=True)
    steps = rounds.steps_of(rounds.Round(tmp_path, None, is_first=False))
    assert staging.exists()
    next(steps)
    assert not staging.exists()


# In place of the step's process: what it costs is in a file of its tree, and it writes down that it ran.
_STEP = """
import json, os, pathlib, signal, sys
roots = [pathlib.Path(root) for root in os.environ["PYTHONPATH"].split(os.pathsep)]
tree = roots[0].parent
is_of_tree = roots[:3] == [tree / name for name in ("benchmarks", "include", "plugins")]
folder, step, _ = sys.argv[1:]
costs = json.loads((tree / "costs.json").read_text())
with open(os.environ["STEPS_RAN"], "a") as ran:
    print(json.dumps([costs["tree"], step, is_of_tree]), file=ran)
if step in costs["missing"]:
    sys.exit(f"no step {step}")
if step == costs["interrupts"]:
    os.kill(os.getppid(), signal.SIGTERM)
cpu = costs["cpu"].get(step, 1.0)
parts = {step: {"cpu": cpu, "wall": cpu}} if step.startswith("engine_steps") else {}
print(json.dumps({"rows": None, "parts": parts, "started_mb": 1.0, "peak_mb": costs["mb"].get(step, 100.0)}))
"""


@pytest.fixture
def project(tmp_path):
    """A project with these benchmarks, whose steps cost what is written in it."""
    project = tmp_path / "project"
    shutil.copytree(BENCHMARKS, project / "benchmarks", ignore=shutil.ignore_patterns(".envs", "__pycache__"))
    (project / "benchmarks" / "one_step.py").write_text(_STEP)
    (project / ".gitignore").write_text("__pycache__/\n")
    _git(project, "init", "--quiet")
    return project


def _git(project, *arguments):
    return subprocess.run(["git", *arguments], cwd=project, check=True, capture_output=True, text=True).stdout


def _commit(project, tree, **costs):
    costs = {"tree": tree, "cpu": {}, "mb": {}, "missing": [], "interrupts": None, **costs}
    (project / "costs.json").write_text(json.dumps(costs))
    _git(project, "add", "--all")
    _git(project, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", tree)


def _compare(project, *arguments, against="HEAD~1"):
    command = [sys.executable, str(project / "benchmarks"), "--against", against, "--out", "out.json", *arguments]
    ran = project.parent / "ran"
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": f"{PROJECT / 'include'}:{PROJECT / 'plugins'}",
        "STEPS_RAN": str(ran),
    }
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert len(_git(project, "worktree", "list").splitlines()) == 1
    return done, [json.loads(line) for line in ran.read_text().splitlines()] if ran.exists() else []


@pytest.mark.slow
@pytest.mark.nightly
def test_the_steps_of_both_trees_run_in_turn_and_only_what_looks_worse_runs_again(project):
    _commit(project, "theirs", missing=["engine_steps.scan"])
    _commit(project, "ours", cpu={"engine_steps.collect": 1.5}, mb={"engine_steps.report_files": 104})
    done, ran = _compare(project, "--rows", "10")
    assert done.returncode == 1, done.stderr
    assert all(is_own for *_, is_own in ran)
    measured = [(tree, step) for tree, step, _ in ran if step.startswith("engine_steps")]
    # A step that the other tree lacks still prepares ours for the next one.
    assert (measured.count(("ours", "engine_steps.scan")), measured.count(("theirs", "engine_steps.scan"))) == (8, 1)
    measured = [one for one in measured if one[1] != "engine_steps.scan"]
    for (tree, step), (other, same) in zip(measured[::2], measured[1::2], strict=True):
        assert ({tree, other}, step) == ({"ours", "theirs"}, same)
    firsts = [tree for tree, step in measured[::2] if step == "engine_steps.collect"]
    assert firsts == ["ours", "theirs"] * 8
    assert measured.count(("ours", "engine_steps.report_files")) == 8
    lines = [line for line in done.stdout.splitlines() if "worse" in line]
    assert len(lines) == 1
    assert lines[0].split()[:4] == ["engine_steps.collect", "1.50", "1.00", "1.50"]
    assert "left out: engine_steps.scan: no step engine_steps.scan" in done.stdout
    (size,) = json.loads((project / "out.json").read_text())["against"]["sizes"]
    assert [part for part, one in size["steps"].items() if one["worse"]] == ["engine_steps.collect"]


@pytest.mark.slow
@pytest.mark.nightly
def test_an_interrupted_comparison_leaves_no_worktree(project):
    _commit(project, "theirs", interrupts="engine_steps.collect")
    _commit(project, "ours")
    done, ran = _compare(project, "--rows", "10")
    assert done.returncode not in {0, 1}
    assert ["theirs", "engine_steps.collect", True] in ran
    assert ["ours", "engine_steps.write_to_files", True] not in ran


@pytest.mark.slow
@pytest.mark.nightly
def test_one_quick_round_finds_nothing_worse(project):
    _commit(project, "theirs")
    _commit(project, "ours", cpu={"engine_steps.collect": 1.5})
    done, ran = _compare(project, "--rows", "10", "--quick")
    assert done.returncode == 0, done.stderr
    assert ran.count(["ours", "engine_steps.collect", True]) == 1
    assert [line.split()[0] for line in done.stdout.splitlines() if line.endswith("over")] == ["engine_steps.collect"]


def test_an_unknown_commit_and_a_path_that_is_not_compared_are_refused_before_anything_runs(project):
    _commit(project, "only")
    for arguments, against, words in (
        ([], "no-such", "no commit no-such"),
        (["--only", "whole"], "HEAD", "steps only"),
    ):
        done, ran = _compare(project, *arguments, against=against)
        assert (done.returncode, ran) == (2, [])
        assert words in done.stderr


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_this_project_is_compared_with_its_last_commit(tmp_path):
    out = tmp_path / "bench.json"
    command = [sys.executable, str(BENCHMARKS), "--quick", "--rows", "1000", "--against", "HEAD", "--out", str(out)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stderr
    (size,) = json.loads(out.read_text())["against"]["sizes"]
    assert size["left_out"] == {}
    assert len(size["steps"]) == 14
    assert all(len(one["turns"]) == 1 for one in size["steps"].values())
