"""One operator a step: build, submit, collect, join, report; and cancel and delete for a batch by its id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Literal

import msgspec
import pyarrow.parquet as pq
from airflow.sdk import BaseHook, BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException
from pydantic import BaseModel

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.staging import run_of, shard_at
from greennode_batch.build.plan import Plan, build, read_plan
from greennode_batch.build.source import read_sql
from greennode_batch.collect.answers import AnswerReader
from greennode_batch.collect.batch_files import collect_shard
from greennode_batch.errors import ConfigError, NotFoundError
from greennode_batch.job import BatchJob, SqlSource, SqlTarget, read_job_text
from greennode_batch.join.join import join_shard, joined_schema
from greennode_batch.join.target import SqlTable, sql_table
from greennode_batch.receipts import read_receipt
from greennode_batch.report import check_failed_ratio, note_joined, report, source_keys
from greennode_batch.staging import RunFolder, local_copy
from greennode_batch.submit import submit


class GreenNodeBuildRequestsOperator(BaseOperator):
    """Reads the source table and builds the shards. Returns their folders; nothing is sent.

    job: what to ask. A run that is built already and has an upload is kept as it is: what was paid for stays.
    """

    template_fields: Sequence[str] = ("sql",)
    template_fields_renderers = {"sql": "sql"}  # noqa: RUF012 - Airflow's own declaration
    ui_color = "#e3f4ea"

    def __init__(self, *, job: BatchJob, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(job.source, SqlSource):
            raise ConfigError(f"job {job.name}: in Airflow, source is a SqlSource")
        self.job = job
        self.sql = job.source.sql

    def resolve_template_files(self) -> None:
        """Read the query from the jobs folder, as Airflow does for files of its own search path."""
        self.sql = read_job_text(self.sql)

    @fail_without_retry
    def execute(self, context: Context) -> list[str]:
        """Build, or keep what is built."""
        run = run_of(context, _group_of(self))
        plan = read_plan(run)
        if plan is None or not _has_uploads(run, plan):
            plan = self._build(run, context["run_id"])
            self.log.info("Built %s", plan)
        else:
            self.log.info("Kept the requests of this run, for some were sent already: %s", plan)
        if not plan.rows:
            self.log.info("The source has no rows: no batch is created, and the run succeeds")
        return [str(run.shard(shard.shard_id)) for shard in plan.shards]

    def _build(self, run: RunFolder, run_id: str) -> Plan:
        with GreenNodeHook(self.job.conn_id).get_conn() as client:
            profile = client.profile
        assert isinstance(self.job.source, SqlSource)
        assert isinstance(self.job.target, SqlTarget)
        with closing(_connect(self.job.source.conn_id)) as connection:
            plan = build(self.job, read_sql(connection, self.sql), run, run_id=run_id, profile=profile)
        if plan.shards:
            # A table that cannot take the answers is found out here, before anything is paid.
            with local_copy(run.shard(plan.shards[0].shard_id).source) as path:
                schema = joined_schema(pq.read_schema(path), AnswerReader(self.job.answer).fields)
            with open_target(self.job.target, self.job.target_key) as table:
                table.prepare(schema)
        return plan


class GreenNodeSubmitBatchOperator(BaseOperator):
    """Makes one batch of one shard, exactly once however often it runs. Returns the batch's id.

    shard: the folder that holds `requests.jsonl` (templated); its receipt is kept beside it, so a folder is for
    one batch. on_ambiguous: what to do when a create may have been accepted and the server cannot tell.
    """

    template_fields: Sequence[str] = ("shard", "greennode_conn_id")
    ui_color = "#e3f4ea"

    def __init__(
        self,
        *,
        shard: str,
        greennode_conn_id: str = GreenNodeHook.default_conn_name,
        on_ambiguous: Literal["fail", "resubmit"] = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shard = shard
        self.greennode_conn_id = greennode_conn_id
        self.on_ambiguous = on_ambiguous

    @fail_without_retry
    def execute(self, context: Context) -> str:
        """Submit, or find what was submitted before."""
        shard = shard_at(self.shard)
        if shard.requests.exists() and shard.requests.stat().st_size == 0:
            raise AirflowSkipException("no row of this shard can be sent; they go to the target as unsent")
        with GreenNodeHook(self.greennode_conn_id).get_conn() as client:
            receipt = submit(shard, client, on_ambiguous=self.on_ambiguous)
        assert receipt.batch_id is not None
        context["task_state_store"].set("greennode", {"batch_id": receipt.batch_id, "file_id": receipt.file_id})
        return receipt.batch_id


class GreenNodeCollectResultsOperator(BaseOperator):
    """Fetches a finished batch's files into staging and settles every request. Returns counts by status.

    shard: the folder that was submitted (templated). answer: a Pydantic model that each answer must match.
    """

    template_fields: Sequence[str] = ("shard", "greennode_conn_id")
    ui_color = "#e3f4ea"

    def __init__(
        self,
        *,
        shard: str,
        answer: type[BaseModel] | None = None,
        greennode_conn_id: str = GreenNodeHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shard = shard
        self.answer = answer
        self.greennode_conn_id = greennode_conn_id

    @fail_without_retry
    def execute(self, context: Context) -> dict[str, int]:
        """Collect, or read what was collected before."""
        with GreenNodeHook(self.greennode_conn_id).get_conn() as client:
            return dict(collect_shard(shard_at(self.shard), client, self.answer))


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
        run = run_of(context, _group_of(self))
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


class GreenNodeCancelBatchOperator(BaseOperator):
    """Asks GreenNode to cancel a batch. One that has ended already is left as it is."""

    template_fields: Sequence[str] = ("batch_id", "greennode_conn_id")
    ui_color = "#fbe9e7"

    def __init__(
        self, *, batch_id: str, greennode_conn_id: str = GreenNodeHook.default_conn_name, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.greennode_conn_id = greennode_conn_id

    @fail_without_retry
    def execute(self, context: Context) -> None:
        """Cancel."""
        with GreenNodeHook(self.greennode_conn_id).get_conn() as client:
            client.cancel_batch(self.batch_id)
        self.log.info("Batch %s: cancellation asked for", self.batch_id)


class GreenNodeDeleteBatchOperator(BaseOperator):
    """Removes an ended batch and its metadata at GreenNode for good. One that still runs is refused.

    Collect its results before: what is deleted there cannot be fetched again.
    """

    template_fields: Sequence[str] = ("batch_id", "greennode_conn_id")
    ui_color = "#fbe9e7"

    def __init__(
        self, *, batch_id: str, greennode_conn_id: str = GreenNodeHook.default_conn_name, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.greennode_conn_id = greennode_conn_id

    @fail_without_retry
    def execute(self, context: Context) -> None:
        """Delete, if it has ended."""
        with GreenNodeHook(self.greennode_conn_id).get_conn() as client:
            try:
                batch = client.get_batch(self.batch_id)
            except NotFoundError:
                self.log.info("Batch %s is not there (any more)", self.batch_id)
                return
            if not batch.status.is_terminal:
                raise ConfigError(f"batch {batch.id} is {batch.raw_status}; cancel it or wait, then delete it")
            client.delete_batch(self.batch_id)
        self.log.info("Batch %s deleted", self.batch_id)


@contextmanager
def open_target(target: SqlTarget, key: Sequence[str]) -> Iterator[SqlTable]:
    """The target's table on a connection of its own."""
    with closing(_connect(target.conn_id)) as connection:
        yield sql_table(connection, target.table, key)


def _connect(conn_id: str) -> Any:
    hook: Any = BaseHook.get_hook(conn_id)
    return hook.get_conn()


def _has_uploads(run: RunFolder, plan: Plan) -> bool:
    return any(read_receipt(run.shard(shard.shard_id)) is not None for shard in plan.shards)


def _group_of(operator: BaseOperator) -> str:
    """The id of the task group that a pipeline's own tasks stand in; empty for a DAG of its own."""
    return operator.task_id.rpartition(".")[0]
