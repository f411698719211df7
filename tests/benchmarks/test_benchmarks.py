"""The benchmarks themselves: they run, they print a verdict for each goal, and they fail where a row is not right."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.nightly
def test_the_quick_benchmark_measures_each_step_and_judges_each_goal(tmp_path):
    out = tmp_path / "bench.json"
    command = [sys.executable, str(BENCHMARKS), "--quick", "--rows", "1000", "--only", "steps", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    made = json.loads(out.read_text())
    (size,) = made["steps"]
    assert set(size["engine"]) == {
        "build", "collect", "collect typed", "join", "write", "report", "table: build", "table: join",
        "table: write", "table: report", "table: scan", "table: build changed", "write parts", "build from parts",
    }  # fmt: skip
    assert all(part["cpu_seconds_per_million"] > 0 and part["peak_mb"] > 0 for part in size["engine"].values())
    assert len(made["verdicts"]) == 4
    assert done.stdout.count("1,000 rows") >= 3


@pytest.fixture
def benchmarks(monkeypatch):
    """What the test uses of modules that are found by their folder alone, as the command finds them."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    names = ("BenchFolder", "QUESTION", "check_files", "digest", "write_rows")
    modules = [importlib.import_module(name) for name in ("bench_folder", "bench_request", "checked_rows", "made_rows")]
    return SimpleNamespace(**{name: getattr(one, name) for name in names for one in modules if hasattr(one, name)})


@pytest.mark.parametrize(
    ("ids", "answers", "statuses", "words"),
    [
        ([0, 1], ["0", "1"], ["succeeded"] * 2, "1 of 3 rows are not there"),
        ([0, 1, 1], ["0", "1", "1"], ["succeeded"] * 3, "a row is there twice"),
        ([0, 1, 2], ["0", "2", "1"], ["succeeded"] * 3, "a row has the answer of another"),
        ([0, 1, 2], ["0", "1", "2"], ["succeeded", "missing", "succeeded"], "a row has no answer"),
    ],
)
def test_a_benchmark_that_loses_or_mixes_up_rows_fails(tmp_path, benchmarks, ids, answers, statuses, words):
    folder = benchmarks.BenchFolder(tmp_path)
    benchmarks.write_rows(folder, 3)
    own = [
        f"{benchmarks.digest(benchmarks.QUESTION + text)} and more"
        for text in pq.read_table(folder.rows)["text"].to_pylist()
    ]
    right = pa.table({"id": range(3), "answer": own, "status": ["succeeded"] * 3})
    for answered in (folder.floor_answers, folder.engine_answers):
        answered.mkdir(parents=True)
        pq.write_table(right, answered / "0.parquet")
    benchmarks.check_files(folder)
    wrong = pa.table({"id": ids, "answer": [own[int(index)] for index in answers], "status": statuses})
    pq.write_table(wrong, folder.engine_answers / "0.parquet")
    with pytest.raises(AssertionError, match=words):
        benchmarks.check_files(folder)
