"""The estimate of a run -> a person's approval, if it is more than the job may spend without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.runtime.runs import group_of, run_job, run_of
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.state.plan import read_plan

_APPROVE, _REJECT = "Approve", "Reject"


class GreenNodeApproveSpendOperator(HITLOperator):
    """Asks a person in Airflow's UI before a run is sent whose estimate is over the budget's `approve_over`.

    Returns the shards' folders unchanged once they may be sent; the XCom `approval` has who approved. A run under that
    sum passes at once. If a person rejects it, the task fails for good, and nothing is submitted.

    job: the job that was built. shards: the folders that build_requests made (templated).
    """

    template_fields: Sequence[str] = ("shards",)
    ui_color = "#e3f4ea"

    def __init__(self, *, job: BatchJob, shards: Any, **kwargs: Any) -> None:
        subject = f"May job {job.name} spend this?"
        super().__init__(**{"subject": subject, "options": [_APPROVE, _REJECT], **kwargs})
        self.job = job
        self.shards = shards

    @fail_without_retry
    def execute(self, context: Context) -> Any:
        """Pass, or wait for an answer without a worker."""
        from greennode_batch.plan.approval import approval_text, must_be_approved, note_approval_request

        run, job = run_of(context, group_of(self)), run_job(self.job, context)
        budget = job.budget
        plan = read_plan(run) if self.shards else None
        if plan is None or budget is None or not must_be_approved(run, plan, budget, live=job.live):
            self.log.info("No approval is needed: %s", plan.estimate if plan else "nothing is to be sent")
            return self.shards
        # Not a template: a prompt's own braces are shown as they are.
        self.body = approval_text(run, plan, budget)
        note_approval_request(run, plan)
        self.log.info("Waiting for a person to approve the %s", plan.estimate)
        return super().execute(context)

    @fail_without_retry
    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Record the answer, and continue or fail by it."""
        from greennode_batch.plan.approval import note_answer

        said = super().execute_complete(context, event)
        user, moment = said["responded_by_user"], said["responded_at"]
        approval = note_answer(
            run_of(context, group_of(self)),
            approved=said["chosen_options"] == [_APPROVE],
            by=user["name"] if user else "nobody in time",
            at=moment.timestamp(),
        )
        context["ti"].xcom_push(key="approval", value={"by": approval.by, "approved": approval.approved})
        if not approval.approved:
            raise AirflowFailException(f"{approval}: nothing was submitted")
        self.log.info("%s", approval)
        return self.shards
