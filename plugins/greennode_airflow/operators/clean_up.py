"""What a run leaves at GreenNode -> nothing; and the run's verdict."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowSkipException

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.runtime.run_outcome import RunOutcome
from greennode_airflow.runtime.runs import group_of, run_job, run_of, shows_only
from greennode_batch.cleanup.remote_files import RemovedFiles, remove_remote_files
from greennode_batch.errors import GreenNodeError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.plan import read_plan
from greennode_batch.state.run_report import is_balanced


class GreenNodeCleanUpOperator(BaseOperator):
    """Deletes a run's files at GreenNode once their contents are safe, unless the job or the connection keeps them.

    Then it fails unless the run's rows are in the target, as the report has found them. Make it a teardown after the
    report, with `on_failure_fail_dagrun`: it then runs whatever became of the run, marked by hand or not, and alone
    says how the run has ended. A file that cannot be deleted, and an outage, change nothing of that.
    """

    ui_color = "#e3f4ea"

    def __init__(self, *, job: BatchJob, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job

    @fail_without_retry
    def execute(self, context: Context) -> None:
        """Delete what may go, say what stays, and judge."""
        outcome, run = RunOutcome(self, context), run_of(context, group_of(self))
        outcome.skip_if_left_out()
        if words := shows_only(context):
            outcome.check_built()
            raise AirflowSkipException(f"{words}. There is nothing to delete")
        is_lacking = False
        try:
            is_lacking = _is_lacking(run)
            if outcome.is_reported:  # otherwise somebody may be at work on the run
                self.log.info("%s", delete_remote_files(run_job(self.job, context), run))
        except Exception as error:
            # Worth another try where it was the network; not worth a good run where that is down for long.
            task = context["ti"]
            is_lasting = isinstance(error, (GreenNodeError, AirflowNotFoundException))
            if not is_lasting and task.try_number <= task.max_tries:
                raise
            self.log.warning("Files of the run stay at GreenNode, which changes nothing of its result", exc_info=True)
        outcome.check_reported()
        if is_lacking:
            raise AirflowFailException(
                "the report of what is built now did not find all rows in the target, or was never made, though its "
                "task is a success: clear report of this run with all that is downstream, at no cost"
            )


def delete_remote_files(job: BatchJob, run: RunFolder) -> RemovedFiles:
    """Delete a run's files at GreenNode that are safe in staging, unless the job or the connection keeps them."""
    hook, keep = GreenNodeHook(job.conn_id), job.keep_remote_files
    with hook.get_conn() as client:
        return remove_remote_files(run, client, keep=hook.keep_remote_files() if keep is None else keep)


def _is_lacking(run: RunFolder) -> bool:
    """Whether staging has a plan, and no report that found it in the target: a person may have marked the report."""
    plan = read_plan(run)
    return plan is not None and not is_balanced(run, plan)
