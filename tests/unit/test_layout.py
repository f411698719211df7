"""Tests mirror the engine: `<folder>/<module>.py` is tested in `<folder>/test_<module>.py`, or the list says where."""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ENGINE = PROJECT / "include" / "greennode_batch"
TESTS = Path(__file__).parent

# Where a module without a file of its own is tested. A pattern stands for all such modules; the first that fits counts.
TESTED_IN = {
    "analysis/evaluation/examples": "tests/unit/analysis/evaluation/test_evaluation_page.py",
    "api/connection": "tests/unit/api/test_client.py",
    "api/protocol": "tests/unit/api/test_client.py",
    "api/results/result_line": "tests/unit/api/results/test_result_lines.py",
    "batches/throttle/*": "tests/unit/batches/throttle/test_queue.py",
    "cost/estimated_plan": "tests/unit/cost/test_actual.py",
    "job/*": "tests/unit/job/test_batch_job.py",
    "monitor/staged_run": "tests/unit/monitor/test_run_figures.py",
    "plan/copied_shard": "tests/unit/incremental/test_all_targets.py",
    "plan/submitted_*": "tests/unit/plan/test_build.py",
    "plan/open_shard": "tests/unit/plan/test_builder.py",
    "plan/rebuild": "tests/unit/plan/test_build.py",
    "plan/shard_set": "tests/unit/plan/test_builder.py",
    "probe/*": "tests/unit/probe/test_probe_run.py",
    "reconcile/written_*": "tests/unit/reconcile/test_written.py",
    "reconcile/*": "tests/unit/reconcile/test_report.py",
    "request/re*": "tests/unit/plan/test_partition_files.py",
    "retry/retry_budget": "tests/unit/cost/test_actual.py",
    "state/*": "tests/unit/state/test_document.py",
    "tables/*": "tests/unit/tables/test_table_target.py",
    "write/answer_index": "tests/unit/write/test_file_lookup.py",
    "write/dataset_files": "tests/unit/write/test_dataset.py",
    "write/parquet_files": "tests/unit/write/test_file_lookup.py",
    "write/joined_rows": "tests/unit/reconcile/test_report.py",
}
# What tests of several modules promise, or of a page of the docs.
OF_NO_MODULE = ("test_imports.py", "test_layout.py", "probe/test_dialects_page.py")
# Folders whose tests are of something else than the engine.
OF_OTHERS = ("docker", "docs", "emulator", "local")

MODULES = sorted(
    path.relative_to(ENGINE).with_suffix("").as_posix() for path in ENGINE.rglob("*.py") if path.stem != "__init__"
)
FILES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py"))


def mirror_of(module: str) -> str:
    folder, _, name = module.rpartition("/")
    return f"{folder}/test_{name}.py".lstrip("/")


WITHOUT_OWN_FILE = [module for module in MODULES if mirror_of(module) not in FILES]


def test_every_module_has_a_test_file_or_says_where_it_is_tested():
    assert MODULES
    unlisted = [one for one in WITHOUT_OWN_FILE if not any(fnmatchcase(one, pattern) for pattern in TESTED_IN)]
    assert not unlisted, f"write {', '.join(map(mirror_of, unlisted))}, or say in TESTED_IN where they are tested"


@pytest.mark.parametrize("pattern", TESTED_IN)
def test_the_list_names_what_has_no_file_of_its_own_and_a_file_that_there_is(pattern):
    assert any(fnmatchcase(one, pattern) for one in WITHOUT_OWN_FILE), "no such module, or it has its own test file"
    assert (PROJECT / TESTED_IN[pattern]).is_file()


def test_every_test_file_mirrors_a_module():
    mirrors = {mirror_of(module) for module in MODULES}
    others = [one for one in FILES if one not in mirrors and one.partition("/")[0] not in OF_OTHERS]
    assert sorted(others) == sorted(OF_NO_MODULE)
