"""Tests mirror the engine: `<folder>/<module>.py` is tested in `<folder>/test_<module>.py`, or the list says where."""

from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ENGINE = PROJECT / "include" / "greennode_batch"
TESTS = Path(__file__).parent

# Where modules without a test file of their own are tested: such as only take part in what the file tests.
TESTED_IN = {
    "analysis/evaluation/test_evaluation_page.py": ["analysis/evaluation/examples"],
    "api/test_client.py": ["api/connection", "api/protocol"],
    "api/results/test_result_lines.py": ["api/results/result_line"],
    "batches/test_credit.py": ["state/no_credit"],
    "batches/test_halves.py": ["state/enqueued_limit", "state/split"],
    "batches/test_live_shard.py": ["state/live_answers"],
    "batches/test_stopped.py": ["state/shard_model"],
    "batches/test_upload.py": ["state/staging_identity"],
    "batches/throttle/test_queue.py": [
        "batches/throttle/completion", "batches/throttle/queue_folder", "state/submit_queue",
    ],
    "cli/test_job_file.py": ["cli/python_file"],
    "cli/test_run_command.py": [
        "cli/__main__", "cli/answer_option", "cli/commands", "cli/declared_job", "cli/out_file", "interactive/api_key",
    ],
    "cleanup/test_remote_files.py": ["state/cleaned"],
    "collect/test_pilot.py": ["state/confirmed_profile"],
    "collect/test_unread.py": ["state/stops"],
    "cost/test_actual.py": ["cost/estimated_plan", "retry/retry_budget", "state/actual_cost"],
    "cost/test_usage_history.py": ["state/canaries", "state/run_usage"],
    "frame/test_enrich.py": ["frame/answer_match", "frame/frame_kinds", "state/job_result"],
    "incremental/test_all_targets.py": ["plan/copied_shard", "reconcile/written_targets"],
    "incremental/test_unchanged_rows.py": ["reconcile/record_answers", "state/untouched_rows"],
    "job/test_batch_job.py": [
        "job/budget", "job/checks", "job/live_mode", "job/declaration", "job/file_types", "job/sources", "job/targets",
    ],
    "monitor/test_failed_rows.py": ["monitor/shown_text"],
    "monitor/test_run_figures.py": ["monitor/staged_run"],
    "plan/test_build.py": [
        "plan/submitted_index", "plan/submitted_shards", "plan/rebuild", "state/build_turn", "state/withdrawn",
    ],
    "plan/test_builder.py": ["plan/open_shard", "plan/shard_set"],
    "plan/test_partition_files.py": ["request/rendered_batch", "request/request_templates"],
    "probe/test_probe_run.py": [
        "probe/batch_steps", "probe/chat_steps", "probe/ending_steps", "probe/file_steps", "probe/list_steps",
        "probe/probe_report", "probe/result_steps", "probe/session", "probe/state", "probe/tiny_requests",
        "probe/wait_steps", "probe/watch_steps",
    ],
    "probe/test_saved_profile.py": ["probe/airflow_api"],
    "reconcile/test_report.py": [
        "reconcile/attempt_tally", "reconcile/differences", "reconcile/removals", "reconcile/staged",
        "state/joined_shard",
        "state/run_report", "write/joined_rows",
    ],
    "reconcile/test_written.py": ["reconcile/written_files"],
    "source/formats/test_parquet_rows.py": ["source/formats/int96_check"],
    "source/test_value_limits.py": ["source/postgres_texts"],
    "tables/test_carried_check.py": ["tables/trial_rows"],
    "tables/test_table_target.py": [
        "job/columns", "tables/answer_trial", "tables/table_columns", "tables/sql_dialect", "tables/key_sample",
        "tables/table_check", "tables/typed_rows",
    ],
    "write/test_dataset.py": ["write/dataset_files"],
    "write/test_file_lookup.py": ["write/answer_index", "write/parquet_files"],
    "write/test_target_writer.py": ["write/refused_answers"],
}  # fmt: skip
# What tests of several modules promise, or of a page of the docs.
OF_NO_MODULE = (
    "test_imports.py",
    "test_layout.py",
    "test_package_maps.py",
    "test_vocabulary.py",
    "test_ways_out.py",
    "probe/test_dialects_page.py",
    "source/test_other_readers.py",
)
# Folders whose tests are of something else than the engine.
OF_OTHERS = ("docker", "docs", "emulator", "local", "packaging")

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
    unlisted = set(WITHOUT_OWN_FILE).difference(*TESTED_IN.values())
    assert not unlisted, (
        f"write {', '.join(map(mirror_of, sorted(unlisted)))}, or say in TESTED_IN where they are tested"
    )


@pytest.mark.parametrize("file", TESTED_IN)
def test_the_list_names_files_that_there_are_and_modules_that_have_none_of_their_own(file):
    assert (TESTS / file).is_file()
    assert set(TESTED_IN[file]) <= set(WITHOUT_OWN_FILE), "no such module, or it has its own test file"


def test_the_list_names_each_module_once():
    listed = [module for modules in TESTED_IN.values() for module in modules]
    assert len(listed) == len(set(listed))


def test_every_test_file_mirrors_a_module():
    mirrors = {mirror_of(module) for module in MODULES}
    others = [one for one in FILES if one not in mirrors and one.partition("/")[0] not in OF_OTHERS]
    assert sorted(others) == sorted(OF_NO_MODULE)
