"""Table -> shards."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperatorLink, Context
from airflow.sdk.configuration import conf

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.form import Choices, choices_of, own_values
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.observability.links import ReportLink
from greennode_airflow.observability.metric_events import count_run
from greennode_airflow.operators.source import SourceOperator
from greennode_airflow.runtime.dataset_paths import dataset_paths, with_paths
from greennode_airflow.runtime.runs import (
    begin_run,
    data_until,
    group_of,
    is_partial,
    is_running,
    job_id_of,
    run_job,
    run_of,
    staging_root,
)
from greennode_airflow.runtime.shard_groups import Shards, shard_groups
from greennode_batch.analysis.pages.template import write_page
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.cost.budget_check import budget_forecast
from greennode_batch.errors import RetryableError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.live_mode import TRY_ROWS
from greennode_batch.staging.folders import RunFolder, read_json
from greennode_batch.state.confirmed_profile import was_read_before
from greennode_batch.state.open_runs import RunAhead, runs_ahead
from greennode_batch.state.plan import Plan, read_plan, remembered_rows
from greennode_batch.state.receipts import is_sent
from greennode_batch.state.run_identity import earlier_runs, identity_of
from greennode_batch.state.run_report import RunReport, is_balanced
from greennode_batch.wording import counted

if TYPE_CHECKING:
    # Its module loads Arrow, which a task that sends or waits does not need.
    from greennode_batch.source.rows import Rows


# Between two looks at the run ahead, which takes hours as a rule.
_WAIT = timedelta(minutes=1)


class GreenNodeBuildRequestsOperator(SourceOperator):
    """Reads the source and builds the shards. Returns their folders; nothing is sent.

    Of more shards than Airflow maps a task over (`[core] max_map_length`) it returns lists of folders.

    job: its source's query or path, its tables and the paths of its datasets are templated. Clear the task to pick up
    new rows: shards of the run that were sent stay as they are, with their rows, and only the rest is built again. A
    job with partitions uses the rows that the tasks before have read (GreenNodeReadPartOperator): clear these for new
    rows. With the form's mode `try`, the first rows are answered live instead, and shown in the log and on a page; the
    task returns no shards.
    """

    template_fields: Sequence[str] = (*SourceOperator.template_fields, "paths")
    operator_extra_links: Collection[BaseOperatorLink] = (ReportLink(),)
    report_name = "try.html"
    keeps_number = False

    def __init__(self, *, job: BatchJob, **kwargs: Any) -> None:
        super().__init__(job=job, **kwargs)
        self.paths = dataset_paths(job.targets)
        self.own_values = own_values(self.get_dag())
        self._stop: threading.Event | None = None
        if job.partitions > 1:
            self.sql = self.parameters = self.source_path = None

    @fail_without_retry
    def execute(self, context: Context) -> Any:
        """Build all that was not sent before; the shards' folders."""
        return self.build_requests(context)

    def on_kill(self) -> None:
        """Save the live answers that have come, and stop."""
        if self._stop is not None:
            self._stop.set()

    @fail_without_retry
    def build_again(self, context: Context, event: Any = None, waits_for: str | None = None) -> Any:
        """Build again once the run that was waited for is over: its answers are in the targets now."""
        self.keeps_number = True
        run = run_of(context, group_of(self))
        if waits_for is not None and any(
            other.noted.run_id == waits_for and self._plan_if_open(other, context) is not None
            for other in self._ahead(run, context)
        ):
            self._wait_for(waits_for)
        return self.execute(context)

    def build_requests(self, context: Context) -> list[Shards]:
        """Build everything that was not sent before. Defers while a run that was built before asks the same."""
        self.check_conf(context)
        job, chosen = run_job(self.job, context), choices_of(context)
        run = begin_run(context, group_of(self), conn_id=job.conn_id, is_first=True)
        if chosen.is_try:
            self._try(job, run, context, chosen)
            return []
        if not chosen.dry_run:
            self._harvest(job, run, context)
        if chosen.dry_run:
            job = dataclasses.replace(job, orphaned_rows="report")  # a dry run changes nothing
        if is_partial(self.job, context, self.own_values):
            self.log.info("Only a part of the job's rows is sent: rows that left the source are not searched for")
            job = dataclasses.replace(job, orphaned_rows="ignore")
        plan = self._build(job, run, context, chosen)
        if job.partitions == 1:  # otherwise read_part has reported it
            self.read = plan.answers_for // (len(plan.models) * job.samples), run.path.parent
        if not plan.rows:
            why = "All rows are answered already" if plan.answers_for else "The source has no rows"
            why += f"; {remembered_rows(plan.remembered)}" if plan.remembered else ""
            why += f"; {counted(plan.superseded, 'row')} left to a run of later data" if plan.superseded else ""
            self.log.info("%s: no batch is created, and the run succeeds", why)
        if chosen.dry_run:
            return []
        self._wait_for_runs_ahead(run, plan, context)
        return shard_groups([run.shard(shard.shard_id) for shard in plan.shards])

    def _wait_for_runs_ahead(self, run: RunFolder, plan: Plan, context: Context) -> None:
        """Defer while a run that was built before asks the same of the same rows: both would pay for it."""
        from greennode_batch.plan.shared_requests import shared_requests, unsent_requests

        self.keeps_number |= any(is_sent(run.shard(shard.shard_id)) for shard in plan.shards)
        unsent = None
        for other in self._ahead(run, context):
            if (theirs := self._plan_if_open(other, context)) is None:
                continue
            unsent = unsent_requests(run, plan) if unsent is None else unsent
            if shared := shared_requests(unsent, other.run, theirs):
                self.log.info(
                    "Run %s asks %s that this run would send as well. Waiting without a worker until it is over, so "
                    "that nothing is paid for twice",
                    other.noted.run_id,
                    counted(shared, "request"),
                )
                self._wait_for(other.noted.run_id)

    def _ahead(self, run: RunFolder, context: Context) -> Iterator[RunAhead]:
        dag_run = context["dag_run"]
        return runs_ahead(run, dag_id=dag_run.dag_id, run_id=dag_run.run_id, keeps_number=self.keeps_number)

    def _plan_if_open(self, other: RunAhead, context: Context) -> Plan | None:
        """The plan of a run that may still be asking."""
        plan = read_plan(other.run)
        if plan is None or is_balanced(other.run, plan):
            other.forget()
            return None
        return plan if is_running(context, other.noted.dag_id, other.noted.run_id) else None

    def _wait_for(self, run_id: str) -> NoReturn:
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        self.defer(trigger=TimeDeltaTrigger(_WAIT), method_name=self.build_again.__name__, kwargs={"waits_for": run_id})

    def _harvest(self, job: BatchJob, run: RunFolder, context: Context) -> None:
        """Take over results that an earlier run with this id has paid for, unless this run is built already."""
        earlier = [] if read_plan(run) else [one for one in earlier_runs(run) if not _was_try(one)]
        if not earlier:
            return
        from greennode_airflow.runtime.target_access import open_targets
        from greennode_batch.write.harvest import harvest

        targets = with_paths(job.targets, self.paths)
        for one in earlier:
            with (
                GreenNodeHook(job.conn_id).get_conn() as client,
                open_targets(targets, job.target_key, one) as opened,
            ):
                done = harvest(one, client, job, opened)
            if done.is_retryable and context["ti"].try_number <= context["ti"].max_tries:
                raise RetryableError(f"{done}. This is tried again before anything is sent")
            self.log.warning("%s", done)

    def _build(self, job: BatchJob, run: RunFolder, context: Context, chosen: Choices) -> Plan:
        from greennode_airflow.runtime.target_access import open_targets, target_lookups
        from greennode_batch.answers.answer_reader import AnswerReader
        from greennode_batch.plan.build import build
        from greennode_batch.plan.preflight import check_models, settle_cost
        from greennode_batch.plan.preview import preview, sample_requests
        from greennode_batch.write.target_writer import prepare_targets

        hook = GreenNodeHook(job.conn_id)
        prices = hook.prices(job)
        job_id = job_id_of(self, self.job)
        is_live_only = job.live is not None and job.live.only
        with hook.get_conn() as client:
            # A wrong key or model is found before the source is read.
            check_models(client, job.models)
            targets = with_paths(job.targets, self.paths)
            for declared, rendered in zip(job.targets, targets, strict=True):
                if declared != rendered:
                    self.log.info(
                        "%s: differs from run to run. A table or folder that no earlier run wrote has no answers "
                        "yet: each row is copied there from another target, or sent",
                        rendered,
                    )
            with (
                self._source(job, run, client.profile) as rows,
                target_lookups(targets, job.target_key, run, job_id=job_id, takes_over=not chosen.dry_run) as lookups,
            ):
                plan = build(
                    job,
                    rows,
                    run,
                    run_id=context["run_id"],
                    profile=client.profile,
                    target_lookups=lookups,
                    prices=prices,
                    job_id=job_id,
                    data_until=data_until(context),
                    # Its days come in any order, side by side.
                    renews=context["dag_run"].run_type == "backfill",
                    limit=chosen.limit,
                    pilot_requests=0 if is_live_only else self._pilot_requests(client),
                    max_shard_tokens=None if is_live_only else hook.enqueued_limits().named(now=time.time()),
                )
                sample = sample_requests(job, rows(), client.profile) if chosen.dry_run and not plan.requests else ""
            # A target that cannot take the answers is found here, before anything is paid.
            with open_targets(targets, job.target_key, run) as opened:
                plan = prepare_targets(
                    opened,
                    run,
                    plan,
                    answer_fields=AnswerReader(job.answer).fields,
                    create=not chosen.dry_run,
                    removes=job.orphaned_rows == "remove",
                )
            shown = 3 if chosen.dry_run else 0
            self.log.info("Built %s", preview(run, plan, shown=shown))
            if sample:
                self.log.info("No row would be sent. This is the request of the first row:%s", sample)
            if chosen.dry_run:
                said = budget_forecast(plan, job.budget, canary=job.canary, live=job.live)
                self.log.info("Dry run: nothing is sent%s", f". {said}" if said else "")
                self.log.info(
                    "To see answers before anything is written, trigger the DAG with mode=try: the first %d rows are "
                    "answered live, at the full price",
                    TRY_ROWS,
                )
            elif any(shard.requests and not is_sent(run.shard(shard.shard_id)) for shard in plan.shards):
                reader = AnswerReader(job.answer, plan.answer_limits)
                plan = settle_cost(job, run, plan, client, reader, prices=prices)
                self.log.info("%s", plan.estimate)
        return plan

    def _try(self, job: BatchJob, run: RunFolder, context: Context, chosen: Choices) -> None:
        """Have the first rows answered live, and show the answers in the log and on a page; nothing else is written."""
        from greennode_batch.interactive.trial import trial_page, trial_text, try_rows
        from greennode_batch.source.rows import first_rows

        hook = GreenNodeHook(job.conn_id)
        limits = hook.live_limits()
        before = read_json(run.report, RunReport)
        # Not before it runs: an operator is copied, which an event is not.
        self._stop = threading.Event()
        with hook.get_conn() as client, self._source(job, run, client.profile) as rows:
            trial = try_rows(
                job,
                lambda: first_rows(rows(), chosen.limit),
                client,
                run,
                run_id=context["run_id"],
                prices=hook.prices(job),
                keeps_reasoning=True,
                limits=limits,
                share=hook.live_share() if limits.are_shared else None,
                stop=self._stop,
            )
        count_run(trial.report, before, dag_id=self.dag_id)
        write_page(trial_page(trial, dag_id=self.dag_id, run_id=context["run_id"]), run.path / self.report_name)
        self.log.info("This was %s\n%s", trial.title, trial_text(trial))

    def _pilot_requests(self, client: GreenNodeClient) -> int:
        """How many requests are sent before all others: none if results were read before."""
        wanted = conf.getint("greennode", "pilot_requests")
        is_known = wanted and was_read_before(staging_root(), client.host, client.profile, now=time.time())
        return 0 if is_known else wanted

    @contextmanager
    def _source(self, job: BatchJob, run: RunFolder, profile: ApiProfile) -> Iterator[Callable[[], Rows]]:
        from greennode_airflow.runtime.source_access import open_source
        from greennode_batch.plan.partition_files import read_parts

        if job.partitions > 1:
            yield lambda: read_parts(job, run, profile=profile)
            return
        with open_source(job, self.rendered) as rows:
            yield rows


def _was_try(run: RunFolder) -> bool:
    """Whether a run only showed its answers: they do not belong into the targets."""
    identity = identity_of(run)
    return identity is not None and identity.is_try
