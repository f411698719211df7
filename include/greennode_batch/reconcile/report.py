"""Report: account for every row and every token of a run, or name what does not add up."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec
import pyarrow as pa

from greennode_batch.cost.actual import live_cost, total
from greennode_batch.cost.usage_history import note_usage
from greennode_batch.errors import AccountingError, ConfigError, FailedRowsError
from greennode_batch.job.prices import Prices
from greennode_batch.reconcile.differences import Differences, find_differences, key_schema
from greennode_batch.reconcile.record_answers import AnsweredTable
from greennode_batch.reconcile.staged import Staged
from greennode_batch.reconcile.written import WrittenRows
from greennode_batch.spans import REPORT
from greennode_batch.staging.folders import RunFolder, read_json, write_json
from greennode_batch.state.actual_cost import CostByShard, LiveCost, ModelCost, ShardCost
from greennode_batch.state.attempts import FIRST_ATTEMPT, retries
from greennode_batch.state.canaries import read_canaries
from greennode_batch.state.joined_shard import JoinedShard, joined_shards
from greennode_batch.state.live_answers import LIVE_BATCH_ID
from greennode_batch.state.plan import Plan, read_plan
from greennode_batch.state.row_status import RowStatus
from greennode_batch.state.rows_fingerprint import NO_ROWS, RowsFingerprint
from greennode_batch.state.run_identity import RemovedRun
from greennode_batch.state.run_report import RunReport
from greennode_batch.state.run_usage import RunUsage
from greennode_batch.state.systematic_failure import fails_systematically
from greennode_batch.tables.fingerprint import fingerprint
from greennode_batch.tables.key_sample import KeySample
from greennode_batch.wording import counted, given_by

log = logging.getLogger(__name__)

_WHERE = "All rows are in the target; see its columns status and error"


@REPORT.around(
    lambda *_, **_options: {},
    lambda made: {
        "job": made.job,
        "run_id": made.run_id,
        "rows": made.rows,
        "requests": made.requests,
        "shards": made.shards,
        "statuses": made.statuses,
        "input_tokens": made.prompt_tokens,
        "output_tokens": made.completion_tokens,
        "cost": made.cost,
        "currency": made.currency or None,
    },
)
def report(
    run: RunFolder,
    *targets: WrittenRows,
    answered_table: AnsweredTable | None = None,
    prices: Prices | None = None,
    clock: Callable[[], float] = time.time,
) -> RunReport:
    """Reconcile source, shards, results and targets by id, and write report.json, whether they agree or not.

    answered_table: the target table whose answer cache is written if everything agrees. prices: give the cost of the
    run. Holds the ids of one shard's requests, and 8 bytes per row if a target differs. Call `check_balanced` on the
    result. Raises ConfigError if the run was never built or its staging is gone.
    """
    plan = read_plan(run)
    if plan is None:
        raise ConfigError(f"{run}: {_without_plan(run, targets)}")
    key = plan.target_key
    prices = prices or Prices({})
    staged = Staged(run, plan, key, prices)
    joined = joined_shards(run, plan)
    problems = [*staged.problems, *_join_problems(plan, joined, staged.fingerprints)]
    is_sound = not problems
    superseded = taken_over = kept_answers = 0
    for target in targets if len(joined) == len(plan.shards) else ():
        compared = _compare_target(run, plan.for_target(target.target_id), key, target, joined, is_sound=is_sound)
        where = f"{target.name}: " if len(targets) > 1 else ""
        problems += [f"{where}{words}" for words in compared.problems]
        superseded = max(superseded, compared.superseded)
        taken_over = max(taken_over, compared.taken_over)
        kept_answers = max(kept_answers, compared.kept_answers)
    statuses: Counter[str] = Counter()
    for note in joined.values():
        statuses.update(note.statuses)
    made = RunReport(
        **msgspec.structs.asdict(total(staged.actual_cost)),
        job=plan.job,
        run_id=plan.run_id,
        rows=plan.rows,
        requests=plan.requests,
        shards=plan.submitted_shards,
        statuses=dict(statuses.most_common()),
        attempts=staged.attempts,
        anomalies=dict(staged.anomalies.most_common()),
        anomaly_files=tuple(staged.anomaly_files),
        superseded=superseded,
        taken_over=taken_over,
        kept_answers=kept_answers,
        over_capacity=staged.over_capacity,
        split=len(staged.splits),
        enqueued_limit=min((split.limit for split in staged.splits), default=0),
        repeated=staged.repeated,
        lost=dict(staged.lost),
        unchanged=plan.unchanged,
        remembered=plan.remembered,
        left_to_later=plan.superseded,
        copied=plan.copied,
        copied_failures=sum(
            joined[shard.shard_id].rows - joined[shard.shard_id].statuses.get(RowStatus.SUCCEEDED, 0)
            for shard in plan.shards
            if shard.copied_into and shard.shard_id in joined
        ),
        orphaned=plan.orphaned,
        balanced=not problems,
        problems=tuple(problems),
        prompt_hash=plan.prompt_hash,
        currency=prices.currency,
        estimate=plan.estimate,
        models=_models(plan, staged.actual_cost, joined),
        live=_live(staged),
        canaries=live_cost(read_canaries(run), prices),
        started_at=plan.created_at,
        ended_at=clock(),
        over_budget=tuple(
            f"Attempt {retry.attempt} was not sent: {retry.over_budget}" for retry in retries(run) if retry.over_budget
        ),
    )
    write_json(run.costs, CostByShard(staged.actual_cost))
    write_json(run.report, made)
    note_usage(run, _usage(plan, staged))
    # If a later run has overwritten rows, that run writes the cache. Rows of other jobs are never in it.
    if answered_table is not None and made.balanced and not (made.superseded or made.left_to_later or made.taken_over):
        answered_table.record(plan, kept_answers=kept_answers)
    return made


def _without_plan(run: RunFolder, targets: Sequence[WrittenRows]) -> str:
    """Describe a run without a plan: what its targets hold, and what to do."""
    columns = pa.schema([("custom_id", pa.string()), ("status", pa.string())])
    held = {target.name: sum(rows.num_rows for rows in target.batches(columns)) for target in targets}
    removed = read_json(run.removed, RemovedRun)
    if removed is None and not any(held.values()):
        return "there is no plan, so nothing was built and nothing was sent; run build_requests"
    gone = "is gone" if removed is None else f"was removed on {removed.day}"
    rows = ", ".join(f"{counted(count, 'row')} in {name}" for name, count in held.items())
    return (
        f"this run's staging {gone}, so its rows cannot be compared with it. The rows that it wrote stay: "
        f"{rows}. You need not do anything; the next run asks what is new in the source"
    )


def _models(plan: Plan, actual_cost: Sequence[ShardCost], joined: Mapping[str, JoinedShard]) -> tuple[ModelCost, ...]:
    """The requests, tokens and cost of each model."""
    requests = plan.requests_by_model
    statuses: dict[str, Counter[str]] = {model: Counter() for model in requests}
    for shard in plan.shards:
        if shard.shard_id in joined:
            for model, counts in joined[shard.shard_id].models.items():
                statuses.setdefault(model, Counter()).update(counts)
    return tuple(
        ModelCost(
            **msgspec.structs.asdict(total(one for one in actual_cost if one.model == model)),
            model=model,
            requests=requests.get(model, 0),
            statuses=dict(counts.most_common()),
        )
        for model, counts in statuses.items()
    )


def _live(staged: Staged) -> LiveCost | None:
    """What the requests that were answered live used."""
    shards = [one for one in staged.actual_cost if one.batch_id == LIVE_BATCH_ID]
    if not shards:
        return None
    return LiveCost(
        **msgspec.structs.asdict(total(shards)),
        requests=sum(one.requests for one in shards),
        may_be_paid_twice=staged.may_be_paid_twice,
    )


def _usage(plan: Plan, staged: Staged) -> list[RunUsage]:
    """What the first attempt's requests used, next to their estimates."""
    planned = {shard.shard_id: shard.prompt_tokens / shard.requests for shard in plan.shards if shard.requests}
    halves = (half for split in staged.splits for half in split.halves)
    planned.update((half.shard_id, half.prompt_tokens / half.requests) for half in halves)
    used = []
    for model in plan.models:
        shards = [one for one in staged.actual_cost if one.attempt == FIRST_ATTEMPT and one.model == model]
        used.append(
            RunUsage(
                run_id=plan.run_id,
                model=model,
                prompt_hash=plan.prompt_hash,
                is_counted=plan.is_counted,
                requests=sum(one.counted for one in shards),
                estimated_prompt_tokens=sum(planned[one.shard_id] * one.counted for one in shards),
                prompt_tokens=sum(one.prompt_tokens for one in shards),
                completion_tokens=sum(one.completion_tokens for one in shards),
            )
        )
    return used


def check_balanced(made: RunReport) -> None:
    """Raise AccountingError, with the ids, if source, shards, results and targets do not agree."""
    if not made.balanced:
        raise AccountingError(f"run {made.run_id} does not add up: {'; and '.join(made.problems)}")


def check_failed_ratio(made: RunReport, max_failed_ratio: float) -> None:
    """Raise FailedRowsError if too many of the run's rows or requests ended without an answer.

    Rows whose final outcome an earlier run has found count as rows that the run accounts for, but not as failed. If
    over half of many requests fail, the run fails too, however small a share of all rows they are: the cause is hardly
    in the requests themselves. A job whose ratio allows over half allows it for the requests as well.
    """
    failed = made.rows - made.succeeded - made.copied_failures
    if failed > made.answers_for * max_failed_ratio:
        raise FailedRowsError(
            f"{failed:,} of {made.answers_for:,} rows ended without an answer in this run ({made.summary}). The job "
            f"allows {max_failed_ratio:.1%} ({given_by('max_failed_ratio')}). {_WHERE}"
        )
    unanswered = made.requests - made.answered_requests
    is_allowed = unanswered <= made.requests * max_failed_ratio
    if fails_systematically(made.requests, made.answered_requests) and not is_allowed:
        raise FailedRowsError(
            f"{unanswered:,} of {made.requests:,} requests ended without an answer in this "
            f"run ({made.summary}). Over half is too many, whatever their share of all {made.answers_for:,} rows. "
            f"{_WHERE}"
        )


def _join_problems(
    plan: Plan, joined: Mapping[str, JoinedShard], fingerprints: Mapping[str, RowsFingerprint]
) -> list[str]:
    absent = KeySample(shard.shard_id for shard in plan.shards if shard.shard_id not in joined)
    stale = KeySample(
        shard_id
        for shard_id, note in joined.items()
        if shard_id in fingerprints and note.rows_fingerprint != fingerprints[shard_id]
    )
    problems = []
    if absent.count:
        problems.append(
            f"{absent.count:,} of {len(plan.shards):,} shards are not joined yet, so the target was not checked: "
            f"{absent}. See their tasks. Clear these to continue from where they stopped; nothing is paid twice"
        )
    if stale.count:
        problems.append(
            f"the results of {stale.count:,} of {len(plan.shards):,} shards have changed since they were joined: "
            f"{stale}. Clear their join_results, at no cost"
        )
    return problems


def _compare_target(
    run: RunFolder,
    plan: Plan,
    key: Sequence[str],
    target: WrittenRows,
    joined: Mapping[str, JoinedShard],
    *,
    is_sound: bool,
) -> Differences:
    """Compare the target with what was joined. Searches for single rows only if they differ.

    plan: the plan for this target. is_sound: whether everything before the target agrees.
    """
    expected = NO_ROWS
    for planned in plan.shards:
        expected = expected.joined_with(joined[planned.shard_id].rows_fingerprint)
    held = fingerprint(target.batches(key_schema(run, plan, key)), key)
    if held == expected:
        return Differences([])
    log.info(
        "The %s differs from what was joined: it has %s rows of this run, but %s were joined. Searching for the rows",
        target.name,
        f"{held.rows:,}",
        f"{expected.rows:,}",
    )
    if not is_sound:
        words = (
            f"the target's {held.rows:,} rows differ from the {expected.rows:,} that were joined. Fix the problems "
            "above first; then the report names the rows that differ"
        )
        return Differences([words])
    return find_differences(run, plan, key, target)
