"""A whole job as one task: table -> answers, waiting without a worker.

build ─► send ─► wait (one trigger for all batches) ─► collect ─► … the next attempt … ─► join ─► report ─► clean up

Each step is the one that the pipeline takes (see pipeline.py), and finds in staging how far it is. So a task that
resumes, is retried or cleared takes them from the beginning, and each goes on from what is there.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from greennode_airflow.failures import RETRIES, ShardFailures, fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.observability.assets import outlets_of
from greennode_airflow.observability.links import RUN_LINKS, ReportLink
from greennode_airflow.observability.metric_events import count_requests
from greennode_airflow.observability.shard_state import note_shards
from greennode_airflow.operators.build_requests import GreenNodeBuildRequestsOperator
from greennode_airflow.operators.clean_up import delete_remote_files
from greennode_airflow.operators.table import join_and_write, judge_report, make_report
from greennode_airflow.runtime.dataset_paths import with_paths
from greennode_airflow.runtime.runs import WholeJob, group_of, job_id_of, run_job, run_of, shows_only
from greennode_airflow.runtime.shard_groups import is_empty
from greennode_airflow.runtime.shard_steps import ShardSteps, is_time, missing_in
from greennode_batch.collect.pilot import open_pilot, refuse_unsettled
from greennode_batch.errors import BusyError, ConfigError, GreenNodeError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import Target
from greennode_batch.staging.folders import RunFolder, ShardFolder
from greennode_batch.state.attempts import FIRST_ATTEMPT, attempt_shards
from greennode_batch.state.job_result import RunResult, answers_in
from greennode_batch.state.plan import Plan, read_plan
from greennode_batch.state.receipts import read_receipt
from greennode_batch.state.run_report import RunReport

if TYPE_CHECKING:
    import pyarrow as pa


class GreenNodeBatchOperator(WholeJob, GreenNodeBuildRequestsOperator):
    """Runs a whole job: reads its source, sends its batches, waits for them, and writes the answers into its targets.

    While the batches run, the task is deferred: one trigger waits for all of them, and no worker slot is taken. A retry
    and a cleared task pick up from staging, and nothing is paid twice; a task that is marked failed or success while
    it waits has its batches cancelled, unless the job's `on_kill` says to leave them. Green means that the report found
    every row in the targets; more failed rows than `max_failed_ratio` fail the task.

    The result is a RunResult as JSON: counts, cost, and where the answers are (`read_answers` makes a DataFrame of it).

    job: what to ask; its source's query or path, its tables and the paths of its datasets are templated. A job with
    partitions is read as one. One whose budget has `approve_over` is refused: it needs the task of `batch_table` that
    asks a person. The DAG's params that stand in the trigger form count here as well: see form_params. Mapped over jobs
    or arguments, each instance is a run by itself.
    """

    operator_extra_links = (*RUN_LINKS, ReportLink())

    def __init__(self, *, job: BatchJob, **kwargs: Any) -> None:
        if job.budget is not None and job.budget.approve_over is not None:
            raise ConfigError(
                f"job {job.name}: its budget's approve_over asks a person, which a single task does not do; give "
                "max_cost instead, or make the job's DAG by batch_table()"
            )
        super().__init__(
            job=dataclasses.replace(job, partitions=1), **{"outlets": outlets_of(job.targets), **RETRIES, **kwargs}
        )
        self.wrote: tuple[int, pa.Schema] | None = None

    @fail_without_retry
    def execute(self, context: Context) -> dict[str, Any]:
        """Build what is not sent yet, and go on from there."""
        self.note_instance(context)
        self.build_requests(context)
        if words := shows_only(context, "this task"):
            raise AirflowSkipException(words)
        return self._go_on(context)

    def build_again(self, context: Context, event: Any = None, waits_for: str | None = None) -> Any:
        """Build again once the run that was waited for is over, and go on from there."""
        self.note_instance(context)
        return super().build_again(context, event, waits_for)

    @fail_without_retry
    def resume(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Go on after a batch, or all of them, have ended or need a worker."""
        return self._go_on(context, missing_since=missing_in(event) if isinstance(event, Mapping) else {})

    @fail_without_retry
    def send_again(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Go on, and send what the server had no capacity for if it is time."""
        missing = missing_in(event) if isinstance(event, Mapping) else {}
        return self._go_on(context, missing_since=missing, sends_again=is_time(event))

    def _go_on(
        self, context: Context, *, missing_since: Mapping[str, float | None] | None = None, sends_again: bool = False
    ) -> dict[str, Any]:
        """Take every attempt to its results, then write, report and clean up; defers where it has to wait."""
        self.note_instance(context)
        # Not before it runs: an operator is copied, which an event is not.
        self._stop = threading.Event()
        job, run = run_job(self.job, context), run_of(context, group_of(self))
        plan = read_plan(run)
        if plan is None:
            raise ConfigError(f"{run}: the plan of this run is gone; clear the task to build it again")
        hook = GreenNodeHook(job.conn_id)
        causes: list[Exception] = []
        with hook.get_conn() as client:
            steps = ShardSteps(
                hook=hook,
                client=client,
                dag_id=self.dag_id,
                job=job,
                on_ambiguous=job.on_ambiguous,
                on_kill=job.on_kill,
                deadline_seconds=job.deadline_seconds,
                stop=self._stop,
            )
            try:
                for shards in _attempts(job, run, plan, steps):
                    causes += self._carry(shards, job, steps, context, missing_since or {}, sends_again=sends_again)
            except GreenNodeError as error:
                if error.is_retryable:
                    raise
                causes.append(error)
        targets = with_paths(job.targets, self.paths)
        # Whatever became of one shard, the others' rows are written and reported.
        causes += self._write(job, run, plan, targets)
        try:
            made = make_report(self, context, job, run, targets=targets, job_id=job_id_of(self, self.job))
            result = self._result(made, job, run, targets).to_json()
            judge_report(self, context, job, run, targets=targets, made=made, result=result)
        except Exception as error:
            if not causes:
                raise
            self.log.error("%s", error)  # noqa: TRY400 - it follows from the cause, which the task fails with
            raise causes[0] from error
        finally:
            self._clean_up(job, run)
        return result

    def _carry(
        self,
        shards: Sequence[ShardFolder],
        job: BatchJob,
        steps: ShardSteps,
        context: Context,
        missing_since: Mapping[str, float | None],
        *,
        sends_again: bool,
    ) -> list[Exception]:
        """Take shards to their results, or defer. Returns what has failed for good; what may pass is raised."""
        from greennode_batch.collect.collect import collect_shard, is_read, reader_of

        reader, now = reader_of(run_of(context, group_of(self)), job.answer), time.time()
        open_ = [shard for shard in shards if not is_empty(shard) and not is_read(shard, reader)]
        failures = ShardFailures(len(open_))
        moments: list[float] = []
        for shard in open_:
            if _is_to_send(shard):
                with failures.held(shard):
                    try:
                        steps.send(shard, is_cleared=context["ti"].try_number > 1)
                    except BusyError as error:
                        self.log.warning("%s. Waiting without a worker, then trying again", error)
                        moments.append(now + (error.retry_after or 0.0))
        if open_:
            note_shards(context, open_)
        sent = [shard for shard in open_ if not _is_to_send(shard)]
        polled = steps.poll(sent, failures, now=now, missing_since=missing_since, sends_again=sends_again)
        polled.moments += moments
        polled.results()
        for one in polled.over:
            with failures.held(one.shard):
                counts = collect_shard(
                    one.shard,
                    steps.client,
                    job.answer,
                    min_read_ratio=job.min_read_ratio,
                    systematic_failure_ratio=job.systematic_failure_ratio,
                    explains_errors=job.explain_errors,
                )
                count_requests(one.receipt, counts, dag_id=self.dag_id, conn_id=steps.conn_id)
        waits = polled.next_trigger()
        if waits is not None:
            self.defer(trigger=waits.trigger, method_name=waits.method_name)
        failures.raise_retryable()
        return failures.errors

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What OpenLineage gets: the source, and how many rows were written into each target."""
        from greennode_airflow.observability.lineage import of_job

        return of_job(self.rendered, with_paths(self.job.targets, self.paths), *self.wrote) if self.wrote else None

    def _write(self, job: BatchJob, run: RunFolder, plan: Plan, targets: Sequence[Target]) -> list[Exception]:
        """Join and write every shard. Returns what has failed for good; what may pass is raised."""
        rows, failures = 0, ShardFailures(len(plan.shards))
        for planned in plan.shards:
            shard = run.shard(planned.shard_id)
            with failures.held(shard):
                note, schema = join_and_write(
                    shard,
                    targets,
                    job.target_key,
                    answer=job.answer,
                    keep_reasoning=job.keep_reasoning,
                    run_id=plan.run_id,
                )
                rows += note.rows
                self.wrote = rows, schema
        failures.raise_retryable()
        return failures.errors

    def _result(self, made: RunReport, job: BatchJob, run: RunFolder, targets: Sequence[Target]) -> RunResult:
        return RunResult(
            report=made,
            targets=answers_in(targets),
            key=job.key_columns,
            target_key=job.target_key,
            job_id=job_id_of(self, self.job),
            folder=str(run),
            answer_columns=job.answer_columns,
            rows=self.rows_of(run),
        )

    def rows_of(self, run: RunFolder) -> str | None:
        """The file of the rows that a function returned; None where the job has a source by itself."""
        return None

    def _clean_up(self, job: BatchJob, run: RunFolder) -> None:
        """Delete the run's files at GreenNode; a failure changes nothing of what the run has come to."""
        try:
            self.log.info("%s", delete_remote_files(job, run))
        except Exception:
            self.log.warning("Files of the run stay at GreenNode, which changes nothing of its result", exc_info=True)


def _attempts(job: BatchJob, run: RunFolder, plan: Plan, steps: ShardSteps) -> Iterator[list[ShardFolder]]:
    """The shards of each attempt, those of the pilot's first; an attempt is built when the one before is at its end."""
    from greennode_batch.retry.build_retry import build_retry

    client, prices = steps.client, steps.hook.prices(job)

    def shards_of(attempt: int) -> list[ShardFolder]:
        if attempt > FIRST_ATTEMPT:
            build_retry(job, run, plan, attempt=attempt, profile=client.profile, prices=prices)
        return attempt_shards(run, plan, attempt)

    attempts = range(FIRST_ATTEMPT, job.attempts + 1)
    pilot = open_pilot(run, plan, client)
    # Past the time at which batches are cancelled, all shards are answered live.
    if pilot is not None and time.time() < steps.schedule(pilot).cancel_at:
        for attempt in attempts:
            yield [pilot] if attempt == FIRST_ATTEMPT else shards_of(attempt)
            if open_pilot(run, plan, client) is None:
                break
        if time.time() < steps.schedule(pilot).cancel_at:
            refuse_unsettled(pilot, client)
    yield from map(shards_of, attempts)


def _is_to_send(shard: ShardFolder) -> bool:
    """Whether the shard has no batch, nor had one that the server ended for lack of capacity."""
    receipt = read_receipt(shard)
    return receipt is None or not (receipt.is_through or receipt.over_capacity)
