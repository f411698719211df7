"""Results -> the shards of the next attempt."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator, Context

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.runtime.runs import group_of, run_job, run_of, shows_only
from greennode_airflow.runtime.shard_groups import Shards, shard_groups
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.state.attempts import attempt_shards
from greennode_batch.state.plan import read_plan


class GreenNodeBuildRetryOperator(BaseOperator):
    """Builds the shards of an attempt from the results of the one before. Returns their folders, if any.

    Of more shards than Airflow maps a task over (`[core] max_map_length`) it returns lists of folders.

    attempt: the number of the attempt to build, from 2. Shards of it that were sent before are kept as they are.
    """

    ui_color = "#e3f4ea"

    def __init__(self, *, job: BatchJob, attempt: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.attempt = attempt

    @fail_without_retry
    def execute(self, context: Context) -> list[Shards]:
        """Build, or continue an earlier build."""
        from greennode_batch.retry.build_retry import build_retry

        if shows_only(context):
            return []
        run = run_of(context, group_of(self))
        plan = read_plan(run)
        if plan is None:
            self.log.info("Nothing was built, so there is nothing to send again")
            return []
        job = run_job(self.job, context)
        hook = GreenNodeHook(job.conn_id)
        with hook.get_conn() as client:
            retry = build_retry(job, run, plan, attempt=self.attempt, profile=client.profile, prices=hook.prices(job))
        self.log.info(
            "Attempt %d sends %s of %s requests again, in %d shards",
            self.attempt,
            f"{retry.requests:,}",
            f"{plan.requests:,}",
            len(retry.shards),
        )
        return shard_groups(attempt_shards(run, plan, self.attempt))
