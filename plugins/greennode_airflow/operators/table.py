"""Results -> target table, and the account of the run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException
from pydantic import BaseModel
from upath import UPath

from greennode_airflow.failures import ShardFailures, fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.observability.assets import add_events, event_extra, outlets_of
from greennode_airflow.observability.links import RUN_LINKS
from greennode_airflow.observability.metric_events import count_run
from greennode_airflow.runtime.dataset_paths import dataset_paths, with_paths
from greennode_airflow.runtime.run_outcome import RunOutcome
from greennode_airflow.runtime.runs import group_of, job_id_of, run_job, run_of, shows_only
from greennode_airflow.runtime.shard_groups import Shards, name_of, shards_in
from greennode_airflow.runtime.template_values import TemplateOperator
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import SqlTarget, Target
from greennode_batch.staging.folders import RunFolder, ShardFolder, read_json
from greennode_batch.state.approval_record import refuse_rejected
from greennode_batch.state.joined_shard import JoinedShard
from greennode_batch.state.plan import read_plan
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.state.run_identity import earlier_runs
from greennode_batch.state.run_report import RunReport

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


class GreenNodeJoinResultsOperator(TemplateOperator):
    """Joins a shard's results to its source rows and writes them into the target. Returns counts by status.

    shard: a folder that build_requests made (templated), or a list of such, whose counts are added up; where some fail,
    the task fails once all others are written. target: one or several; a table and a dataset's path are templated.
    key: the targets' key columns. keep_reasoning: whether the column `reasoning` is filled; staging has it in any case.
    """

    template_fields: Sequence[str] = ("shard", "paths")
    ui_color = "#e3f4ea"

    def __init__(
        self,
        *,
        shard: Shards,
        target: Target | Sequence[Target],
        key: tuple[str, ...],
        answer: type[BaseModel] | None = None,
        keep_reasoning: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shard = shard
        self.targets = tuple(target) if isinstance(target, Sequence) else (target,)
        self.paths = dataset_paths(self.targets)
        self.key = key
        self.answer = answer
        self.keep_reasoning = keep_reasoning
        self.wrote: tuple[int, pa.Schema, UPath] | None = None

    @property
    def shard_name(self) -> str:
        """What Airflow's pages call it: see SHARD_NAME."""
        return name_of(self.shard)

    @fail_without_retry
    def execute(self, context: Context) -> dict[str, int]:
        """Join and write, a shard in one transaction a table; running it again writes the same rows."""
        total: Counter[str] = Counter()
        shards = shards_in(self.shard)
        failures = ShardFailures(len(shards))
        for shard in shards:
            with failures.held(shard):
                total.update(self._write(shard, context))
        failures.raise_all()
        return dict(total)

    def _write(self, shard: ShardFolder, context: Context) -> dict[str, int]:
        targets = with_paths(self.targets, self.paths)
        note, schema = join_and_write(
            shard,
            targets,
            self.key,
            answer=self.answer,
            keep_reasoning=self.keep_reasoning,
            run_id=context["run_id"],
        )
        before = self.wrote[0] if self.wrote else 0
        self.wrote = before + note.rows, schema, shard.run.path.parent
        return note.statuses

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What OpenLineage gets: the targets, and how many rows were written into each from staging."""
        from greennode_airflow.observability.lineage import of_write

        return of_write(with_paths(self.targets, self.paths), *self.wrote) if self.wrote else None


class GreenNodeReportOperator(TemplateOperator):
    """Reconciles source, shards, results and target by id, and says what became of every row.

    Fails if they differ (with the ids), if more than the job's `max_failed_ratio` have no answer, or if this try of the
    run was not built. Its result, also when it fails, is the report, as in report.json in staging. Where it succeeds,
    each target's asset has an event with its counts.
    """

    template_fields: Sequence[str] = ("paths",)
    operator_extra_links = RUN_LINKS
    ui_color = "#e3f4ea"

    def __init__(self, *, job: BatchJob, **kwargs: Any) -> None:
        super().__init__(**{"outlets": outlets_of(job.targets), **kwargs})
        self.job = job
        self.paths = dataset_paths(job.targets)
        self.reported: int | None = None

    @fail_without_retry
    def execute(self, context: Context) -> dict[str, Any]:
        """Account for the run."""
        outcome, run, job = RunOutcome(self, context), run_of(context, group_of(self)), run_job(self.job, context)
        outcome.skip_if_left_out()
        if words := shows_only(context):
            outcome.check_built()
            raise AirflowSkipException(words)
        refuse_rejected(run)
        if read_plan(run) is not None or outcome.has_build_failed:  # else the report itself says what there is
            outcome.check_built()
        targets = with_paths(job.targets, self.paths)
        made = make_report(self, context, job, run, targets=targets, job_id=job_id_of(self, self.job))
        self.reported = made.rows
        # As JSON has it: XCom would write down that a tuple is one.
        result: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(made))
        judge_report(self, context, job, run, targets=targets, made=made, result=result)
        return result

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What OpenLineage gets: the targets, and how many rows the run has in each."""
        from greennode_airflow.observability.lineage import of_report

        return of_report(with_paths(self.job.targets, self.paths), self.reported) if self.reported is not None else None


def join_and_write(
    shard: ShardFolder,
    targets: Sequence[Target],
    key: tuple[str, ...],
    *,
    answer: type[BaseModel] | None,
    keep_reasoning: bool,
    run_id: str,
) -> tuple[JoinedShard, pa.Schema]:
    """Join a shard and write it into the targets; what it wrote, and in which columns."""
    from greennode_airflow.runtime.target_access import open_targets
    from greennode_batch.answers.answer_reader import AnswerReader
    from greennode_batch.write.final_outcomes import FinalOutcomes
    from greennode_batch.write.join import join_shard
    from greennode_batch.write.target_writer import write_shard

    plan = read_plan(shard.run)
    with (
        join_shard(
            shard,
            owner=plan.owner if plan else RowOwner(run_id),
            answer_fields=AnswerReader(answer).fields,
            keep_reasoning=keep_reasoning,
            final=FinalOutcomes(shard.run, plan) if plan else None,
        ) as joined,
        open_targets(targets, key, shard.run) as opened,
    ):
        note = write_shard(shard, joined, opened, key=key)
        log.info("Wrote %s rows into %s", f"{note.rows:,}", ", ".join(target.name for target in opened))
        return note, joined.schema


def make_report(
    operator: BaseOperator, context: Context, job: BatchJob, run: RunFolder, *, targets: Sequence[Target], job_id: str
) -> RunReport:
    """Reconcile a run, write its report, and count what it says.

    job, targets: as the run asks them, with the paths of datasets as they were rendered.
    """
    from greennode_airflow.runtime.target_access import cached_table, open_targets
    from greennode_batch.reconcile.report import report
    from greennode_batch.reconcile.written_targets import written_rows

    before = _reported_before(run)
    with open_targets(targets, job.target_key, run) as opened:
        answered_table = cached_table(job, opened, run, run_id=context["run_id"])
        written = written_rows(run, opened, run_id=context["run_id"], job_id=job_id)
        made = report(run, *written, answered_table=answered_table, prices=GreenNodeHook(job.conn_id).prices(job))
    log.info("%s", made)
    for earlier in earlier_runs(run):
        log.info("Not in this report: what an earlier run of this id has sent, which lies in %s", earlier)
    count_run(made, before, dag_id=operator.dag_id)
    return made


def judge_report(
    operator: BaseOperator,
    context: Context,
    job: BatchJob,
    run: RunFolder,
    *,
    targets: Sequence[Target],
    made: RunReport,
    result: dict[str, Any],
) -> None:
    """Fail the task for what its run's report says, with its result all the same; otherwise add the assets' events.

    targets: the job's, as they were rendered.
    """
    from greennode_batch.reconcile.report import check_balanced, check_failed_ratio

    try:
        _note_run(job, made, run)
        check_balanced(made)
        check_failed_ratio(made, job.max_failed_ratio)
    except Exception:
        # A task that fails has no result, and it is then that this one is wanted most.
        context["ti"].xcom_push(key="return_value", value=result)
        raise
    add_events(context, operator.outlets, job.targets, targets, event_extra(made, run, context))


def _note_run(job: BatchJob, made: RunReport, run: RunFolder) -> None:
    """Write the run into the tables of runs that the targets name. The report has been written before."""
    from greennode_airflow.runtime.databases import open_table
    from greennode_batch.write.runs_table import RUNS_KEY, write_run

    for target in job.targets:
        runs = target.runs() if isinstance(target, SqlTarget) else None
        if runs is not None:
            with open_table(runs, RUNS_KEY) as table:
                write_run(table, made, dag_id=run.path.parent.name)
            log.info("Noted the run in table %s", runs.table)


def _reported_before(run: RunFolder) -> RunReport | None:
    """What the run's report said when it was made before, by this version."""
    with suppress(ConfigError):
        return read_json(run.report, RunReport)
    return None
