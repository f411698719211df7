"""Table -> shards."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context

from greennode_airflow.dataset_paths import dataset_paths, with_paths
from greennode_airflow.failures import fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.runs import begin_run, group_of, is_dry_run
from greennode_batch.job import BatchJob, FileSource, SqlSource, read_job_text
from greennode_batch.receipts import is_sent
from greennode_batch.staging import RunFolder

if TYPE_CHECKING:
    from greennode_batch.build.plan import Plan


class GreenNodeBuildRequestsOperator(BaseOperator):
    """Reads the source and builds the shards. Returns their folders; nothing is sent.

    job: what to ask; its source's query or path is templated. Clear the task to pick up new rows: shards of the run
    that were sent stay as they are, with their rows, and only the rest is built again.
    """

    template_fields: Sequence[str] = ("sql", "source_path", "paths")
    template_fields_renderers = {"sql": "sql"}  # noqa: RUF012 - Airflow's own declaration
    ui_color = "#e3f4ea"

    def __init__(self, *, job: BatchJob, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.sql = job.source.sql if isinstance(job.source, SqlSource) else None
        self.source_path = job.source.path if isinstance(job.source, FileSource) else None
        self.paths = dataset_paths(job.targets)

    def resolve_template_files(self) -> None:
        """Read the query from the jobs folder, as Airflow does for files of its own search path."""
        if self.sql is not None:
            self.sql = read_job_text(self.sql)

    @fail_without_retry
    def execute(self, context: Context) -> list[str]:
        """Build all that was not sent before."""
        run = begin_run(context, group_of(self))
        plan = self._build(run, context["run_id"], dry_run=is_dry_run(context))
        if not plan.rows:
            why = "All rows are answered already" if plan.unchanged else "The source has no rows"
            self.log.info("%s: no batch is created, and the run succeeds", why)
        if is_dry_run(context):
            return []
        return [str(run.shard(shard.shard_id)) for shard in plan.shards]

    def _build(self, run: RunFolder, run_id: str, *, dry_run: bool) -> Plan:
        from greennode_airflow.sources import open_source
        from greennode_airflow.targets import known_rows, open_targets
        from greennode_batch.build.plan import build
        from greennode_batch.build.preview import preview
        from greennode_batch.collect.answers import AnswerReader
        from greennode_batch.join.target import prepare_targets
        from greennode_batch.preflight import check_models, try_canaries

        hook = GreenNodeHook(self.job.conn_id)
        with hook.get_conn() as client:
            # A wrong key or model is found out before the source is read.
            check_models(client, self.job.models)
            with open_source(self.job, self.sql or self.source_path or "") as rows:
                # A dry run changes nothing.
                job = dataclasses.replace(self.job, left_rows="report") if dry_run else self.job
                with known_rows(job) as known:
                    plan = build(job, rows, run, run_id=run_id, profile=client.profile, known=known)
            reader = AnswerReader(self.job.answer)
            # What cannot take the answers is found out here, before anything is paid.
            with open_targets(with_paths(self.job.targets, self.paths), self.job.target_key, run) as targets:
                prepare_targets(targets, run, plan, answer_fields=reader.fields, create=not dry_run)
            shown = 3 if dry_run else 0
            self.log.info("Built %s", preview(run, plan, hook.prices(), max_tokens=self.job.max_tokens, shown=shown))
            if dry_run:
                self.log.info("Dry run: nothing is sent")
            elif any(shard.requests and not is_sent(run.shard(shard.shard_id)) for shard in plan.shards):
                try_canaries(run, plan, client, reader, count=self.job.canary)
        return plan
