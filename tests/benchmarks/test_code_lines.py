"""What counts as a line of code, and the difference to a commit."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def code_lines(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("code_lines").code_lines


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("", 0),
        ("x = 1\n\n# a comment\ny = 2  # another\n", 2),
        ('"""A module."""\n\nx = 1\n', 1),
        ('def f():\n    """One line."""\n    return 1\n', 2),
        ('class C:\n    """Two\n\n    lines."""\n\n    a: int = 1\n    """An attribute\'s."""\n', 2),
        ('class C: """On the line of its class."""\n', 1),
        ('x = """\nSELECT 1\n\n-- not a comment\n"""\n', 5),
        ('f("""\na\n""")\n', 3),
        ('x = f"""\n{1}\n"""\n', 3),
        ("x = [\n    1,\n\n    # why\n    2,\n]\n", 4),
        ("x = 1 + \\\n    2\n", 2),
        ('x = "é"  # é\n"""é"""\n', 1),
    ],
)
def test_only_lines_of_code_count_and_every_line_of_a_string_that_is_no_docstring(code_lines, source, lines):
    assert code_lines(source.encode()) == lines


@pytest.fixture
def project(tmp_path):
    """A project of two commits and a change that is in none, with the script in it."""
    files = {
        "include/one/__init__.py": '"""One."""\n',
        "include/one/a.py": "a = 1\nb = 2\n",
        "include/one/deep/a.py": "a = 1\n",
        "include/one/tests/test_a.py": "a = 1\n",
        "include/gone/a.py": "a = 1\n",
        "plugins/two/a.py": "a = 1\n",
        "plugins/two/text.md": "a = 1\n",
        "other/a.py": "a = 1\n",
        ".gitignore": "ignored.py\n",
    }
    for name, text in files.items():
        _write(tmp_path / name, text)
    (tmp_path / "benchmarks").mkdir()
    shutil.copy(BENCHMARKS / "code_lines.py", tmp_path / "benchmarks")
    _git(tmp_path, "init", "--quiet")
    _commit(tmp_path)
    _write(tmp_path / "plugins/two/a.py", "a = 1\nb = 2\nc = 3\n")
    _commit(tmp_path)
    shutil.rmtree(tmp_path / "include/gone")
    _write(tmp_path / "include/new/a.py", "a = 1\n")
    _write(tmp_path / "include/new/ignored.py", "a = 1\n")
    return tmp_path


def _write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _git(project, *arguments):
    subprocess.run(["git", *arguments], cwd=project, check=True, capture_output=True)


def _commit(project):
    _git(project, "add", "--all")
    _git(project, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "some")


def _run(project, *arguments):
    command = [sys.executable, str(project / "benchmarks" / "code_lines.py"), *arguments]
    return subprocess.run(command, cwd=project.parent, capture_output=True, text=True, check=False, timeout=60)


def _printed(project, *arguments):
    done = _run(project, *arguments)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_packages_are_counted_as_they_are_now_without_tests_and_ignored_files(project):
    assert _printed(project) == [["include/new", "1"], ["include/one", "3"], ["plugins/two", "3"], ["total", "7"]]


@pytest.mark.parametrize(("commit", "more", "total"), [("HEAD", "+0", "+0"), ("HEAD~1", "+2", "+2")])
def test_the_difference_to_a_commit_has_packages_that_are_new_or_gone(project, commit, more, total):
    assert _printed(project, "--against", commit) == [
        ["include/gone", "0", "-1"],
        ["include/new", "1", "+1"],
        ["include/one", "3", "+0"],
        ["plugins/two", "3", more],
        ["total", "7", total],
    ]


def test_a_path_is_counted_by_the_folders_directly_below_it(project):
    assert _printed(project, "include/one", "other/a.py") == [
        ["include/one", "2"],
        ["include/one/deep", "1"],
        ["other/a.py", "1"],
        ["total", "4"],
    ]


@pytest.mark.parametrize("arguments", [["no/such/path"], ["--against", "no-such-commit"]])
def test_what_is_not_there_is_an_error_that_names_it(project, arguments):
    done = _run(project, *arguments)
    assert done.returncode != 0
    assert arguments[-1] in done.stderr
    assert not done.stdout
