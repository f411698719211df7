"""Results -> target table, and the account of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException
from pydantic import BaseModel

from greennode_airflow.databases import open_target
from greennode_airflow.failures import fail_without_retry
from greennode_airflow.runs import group_of, is_dry_run, run_of, shard_at
from greennode_batch.build.plan import read_plan
from greennode_batch.collect.answers import AnswerReader
from greennode_batch.job import BatchJob, SqlTarget
from greennode_batch.join.join import join_shard
from greennode_batch.report import check_failed_ratio, note_joined, report, source_keys


class GreenNodeJoinResultsOperator(BaseOperator):
    """Joins a shard's results to its source rows and upserts them into the target. Returns counts by status.

    shard: a folder that build_requests made (templated). key: the target's key columns.
    """

    template_fields: Sequence[str] = ("shard",)
    ui_color = "#e3f4ea"

    def __init__(
        self,
        *,
        shard: str,
        target: SqlTarget,
        key: tuple[str, ...],
        answer: type[BaseModel] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shard = shard
        self.target = target
        self.key = key
        self.answer = answer

    @fail_without_retry
    def execute(self, context: Context) -> dict[str, int]:
        """Join and write, in one transaction; running it again writes the same rows."""
        shard = shard_at(self.shard)
        joined = join_shard(shard, run_id=context["run_id"], answer_fields=AnswerReader(self.answer).fields)
        with open_target(self.target, self.key) as table:
            table.prepare(joined.schema)
            written = table.write(joined)
        self.log.info("Wrote %s rows into %s", f"{written:,}", self.target.table)
        return note_joined(shard, joined).statuses


class GreenNodeReportOperator(BaseOperator):
    """Checks that every row of the source is in the target, and says what became of them.

    Fails if rows do not add up (with their keys), or if more than the job's `max_failed_ratio` have no answer.
    """

    ui_color = "#e3f4ea"

    def __init__(self, *, job: BatchJob, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job

    @fail_without_retry
    def execute(self, context: Context) -> dict[str, Any]:
        """Account for the run; the report is also in staging."""
        if is_dry_run(context):
            raise AirflowSkipException("a dry run sends nothing and writes nothing; see the log of build_requests")
        run = run_of(context, group_of(self))
        plan = read_plan(run)
        run_id = context["run_id"]
        assert isinstance(self.job.target, SqlTarget)
        with open_target(self.job.target, self.job.target_key) as table:

            def missing_keys() -> list[str]:
                lost = source_keys(run, plan, self.job.target_key) - table.keys(run_id) if plan else set()
                return sorted(", ".join(map(str, key)) for key in lost)

            written = table.count(run_id) if plan and plan.rows else 0
            made = report(run, target_rows=written, missing_keys=missing_keys)
        self.log.info("%s", made)
        check_failed_ratio(made, self.job.max_failed_ratio)
        return dict(msgspec.to_builtins(made))
