"""Targets: where a job's answers go, opened with Airflow's connections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from greennode_airflow.runtime.databases import open_table
from greennode_airflow.runtime.runs import shared_path
from greennode_batch.incremental.target_lookup import TableLookup, TargetLookup
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import FileTarget, Target
from greennode_batch.reconcile.record_answers import AnsweredTable
from greennode_batch.staging.folders import RunFolder
from greennode_batch.tables.table_target import TableTarget
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.file_lookup import file_lookup
from greennode_batch.write.target_writer import OpenTarget


@contextmanager
def open_targets(targets: Sequence[Target], key: Sequence[str], run: RunFolder) -> Iterator[list[OpenTarget]]:
    """Each target as this run writes it; each table on a separate connection."""
    with ExitStack() as stack:
        yield [
            _dataset(target, run) if isinstance(target, FileTarget) else stack.enter_context(open_table(target, key))
            for target in targets
        ]


@contextmanager
def target_lookups(
    targets: Sequence[Target], key: Sequence[str], run: RunFolder, *, job_id: str, takes_over: bool
) -> Iterator[list[TargetLookup]]:
    """What each target holds from earlier runs.

    job_id: the owner of the run's rows. takes_over: whether rows of tables without an owner become the job's.
    """
    with ExitStack() as stack:
        yield [
            stack.enter_context(file_lookup(_dataset(target, run), key, job_id=job_id))
            if isinstance(target, FileTarget)
            else TableLookup(stack.enter_context(open_table(target, key)), job_id=job_id, takes_over=takes_over)
            for target in targets
        ]


def cached_table(job: BatchJob, targets: Sequence[OpenTarget], run: RunFolder, *, run_id: str) -> AnsweredTable | None:
    """The open target in which the next run will search for answered rows, if there is one."""
    for declared, target in zip(job.targets, targets, strict=True):
        if declared == job.cached_table and isinstance(target, TableTarget):
            return AnsweredTable(target, run, run_id=run_id)
    return None


def _dataset(target: FileTarget, run: RunFolder) -> Dataset:
    whole = "(/data/answers) or an object store's (s3://conn_id@bucket/answers, gs://…, abfs://…)"
    folder = shared_path(target.path, what="target", kind="folder", example=whole)
    return Dataset(folder, run, partition_by=target.partition_by)
