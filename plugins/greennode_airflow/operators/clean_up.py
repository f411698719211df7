"""What a run leaves at GreenNode -> nothing."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.runtime.runs import group_of, is_dry_run, run_job, run_of
from greennode_batch.cleanup.remote_files import clean_up
from greennode_batch.job.batch_job import BatchJob


class GreenNodeCleanUpOperator(BaseOperator):
    """Deletes a run's files at GreenNode once their contents are safe, unless the job or the connection keeps them.

    Make it a teardown after the report: it then runs whatever became of the run, and changes nothing of its result.
    """

    ui_color = "#e3f4ea"

    def __init__(self, *, job: BatchJob, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job

    @fail_without_retry
    def execute(self, context: Context) -> None:
        """Delete what may go, and say what stays."""
        if is_dry_run(context):
            raise AirflowSkipException("a dry run sends nothing, so there is nothing to delete")
        job = run_job(self.job, context)
        hook, keep = GreenNodeHook(job.conn_id), job.keep_remote_files
        with hook.get_conn() as client:
            cleaned = clean_up(
                run_of(context, group_of(self)), client, keep=hook.keep_remote_files() if keep is None else keep
            )
        self.log.info("%s", cleaned)
