"""What a run leaves at GreenNode -> nothing, also its batches if a person has ended it; and the run's verdict."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowSkipException

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.runtime.run_outcome import RunOutcome
from greennode_airflow.runtime.runs import group_of, run_job, run_of, shows_only
from greennode_batch.cleanup.remote_files import RemovedFiles, remove_remote_files
from greennode_batch.errors import GreenNodeError, RetryableError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.monitor.cancel import cancel_batches
from greennode_batch.monitor.staged_run import StagedRuns
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.plan import read_plan
from greennode_batch.state.run_report import is_balanced
from greennode_batch.wording import counted


class GreenNodeCleanUpOperator(BaseOperator):
    """Deletes a run's files at GreenNode once their contents are safe, unless the job or the connection keeps them.

    If a person has marked the run, it first cancels the batches that still run, unless the job's `on_kill` leaves them:
    a mark reaches no trigger that has not begun. Batches whose waits may have failed by themselves go on.

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
        is_lacking = is_ended = False
        try:
            is_lacking = _is_lacking(run)
            is_ended = is_lacking and outcome.is_ended_by_hand
            if is_ended:
                self._cancel_batches(run_job(self.job, context), run)
            if outcome.is_reported:  # otherwise somebody may be at work on the run
                self.log.info("%s", delete_remote_files(run_job(self.job, context), run))
        except Exception as error:
            # Worth another try where it was the network, or where batches run on that nobody wants; not worth a good
            # run where the network is down for long.
            task = context["ti"]
            is_lasting = not is_ended and isinstance(error, (GreenNodeError, AirflowNotFoundException))
            if not is_lasting and task.try_number <= task.max_tries:
                raise
            self.log.warning(
                "What the run has left at GreenNode stays, which changes nothing of its result", exc_info=True
            )
        outcome.check_reported()
        if is_lacking:
            raise AirflowFailException(
                "the report of what is built now did not find all rows in the target, or was never made, though its "
                "task is a success: clear report of this run with all that is downstream, at no cost"
            )

    def _cancel_batches(self, job: BatchJob, run: RunFolder) -> None:
        """Cancel the run's batches that are under way, unless the job says to leave them."""
        shards = [shard for shard in StagedRuns().read(run).shards if shard.is_open]
        if not shards:
            return
        batches = counted(len(shards), "batch", "batches")
        if job.on_kill == "leave":
            self.log.info("A person has ended this run; %s left to run (on_kill='leave')", batches)
            return
        with GreenNodeHook(job.conn_id).get_conn() as client:
            # Of another server the connection has neither the batch nor the key.
            here = [one for one in shards if one.receipt is not None and one.receipt.server in {"", client.host}]
            failed = cancel_batches(here, client).failed
        if failed:
            raise RetryableError(
                f"a person has ended this run, and {len(failed)} of its {batches} could not be cancelled: "
                f"{'; '.join(dict.fromkeys(failed.values()))}"
            )
        self.log.info(
            "A person has ended this run: cancellation of %s requested; finished rows stay to be collected", batches
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
