"""What starts loads no more than it needs: each of the hundred tasks of a run pays for it."""

import subprocess
import sys

import pytest

ARROW = {"numpy", "pandas", "pyarrow"}
DATABASES = {"psycopg", "sqlalchemy"}


def printed(program):
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()


def loaded_by(*modules):
    return set(printed(f"import sys, {', '.join(modules)}; print(*sys.modules)"))


def test_what_declares_sends_waits_cleans_up_or_looks_on_needs_neither_arrow_nor_a_database():
    loaded = loaded_by(
        "greennode_batch.job",
        "greennode_batch.batches.submit",
        "greennode_batch.batches.throttle.queue",
        "greennode_batch.batches.wait",
        "greennode_batch.cleanup.remote_files",
        "greennode_batch.cleanup.retention",
        "greennode_batch.monitor.staged_run",
    )
    assert not loaded & (ARROW | DATABASES | {"jinja2"})


def test_what_writes_files_needs_no_database():
    loaded = loaded_by(
        "greennode_batch.cli.run_command", "greennode_batch.write.target_writer", "greennode_batch.reconcile.report"
    )
    assert not loaded & DATABASES


def test_the_command_shows_its_help_without_what_its_work_takes():
    assert not loaded_by("greennode_batch.cli") & (ARROW | DATABASES | {"httpx", "jinja2"})


@pytest.mark.parametrize("module", ["plan.build", "collect.collect", "write.target_writer", "reconcile.report"])
def test_what_works_on_rows_has_memory_that_is_given_back(module):
    program = f"import greennode_batch.{module}, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    assert printed(program) == ["system"]
