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
from greennode_batch.collect.answers import AnswerReader
from greennode_batch.errors import GreenNodeError
from greennode_batch.job import BatchJob, SqlTarget
from greennode_batch.join.join import join_shard
from greennode_batch.reconcile.written import TableRows
from greennode_batch.report import check_balanced, check_failed_ratio, note_joined, report


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
        return note_joined(shard, joined, key=self.key).statuses


class GreenNodeReportOperator(BaseOperator):
    """Reconciles source, shards, results and target by id, and says what became of every row.

    Fails if they differ (with the ids), or if more than the job's `max_failed_ratio` have no answer. Its result, also
    when it fails, is the report, as in report.json in staging.
    """

    ui_color = "#e3f4ea"

    def __init__(self, *, job: BatchJob, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job

    @fail_without_retry
    def execute(self, context: Context) -> dict[str, Any]:
        """Account for the run."""
        if is_dry_run(context):
            raise AirflowSkipException("a dry run sends nothing and writes nothing; see the log of build_requests")
        run = run_of(context, group_of(self))
        assert isinstance(self.job.target, SqlTarget)
        with open_target(self.job.target, self.job.target_key) as table:
            made = report(run, TableRows(table, context["run_id"]))
        self.log.info("%s", made)
        # As JSON has it: XCom would write down that a tuple is one.
        result: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(made))
        try:
            check_balanced(made)
            check_failed_ratio(made, self.job.max_failed_ratio)
        except GreenNodeError:
            # A task that fails has no result, and it is then that this one is wanted most.
            context["ti"].xcom_push(key="return_value", value=result)
            raise
        return result
