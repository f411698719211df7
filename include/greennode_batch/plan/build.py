"""Build: turns a source into shards, then writes the plan. A run with a plan is completely built."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from greennode_batch.api.profile import ApiProfile
from greennode_batch.cost.estimated_plan import estimated
from greennode_batch.errors import ConfigError
from greennode_batch.incremental.answer_cache import RepeatedKeyError
from greennode_batch.incremental.target_lookup import TargetLookup
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.prices import Prices, read_prices
from greennode_batch.plan.builder import Builder
from greennode_batch.plan.rebuild import sent_of, shards_of, withdraw_others
from greennode_batch.plan.submitted_shards import SubmittedShards
from greennode_batch.request.needed_columns import refuse_missing
from greennode_batch.source.rows import Rows, within_max_rows
from greennode_batch.spans import BUILD
from greennode_batch.staging.exclusive import check_exclusive
from greennode_batch.staging.folders import RunFolder, remove_work_folders, work_folder, write_json
from greennode_batch.state.build_turn import check_turn, take_turn
from greennode_batch.state.plan import OrphanedRows, Plan, read_plan, refuse_removed
from greennode_batch.state.receipts import read_receipt
from greennode_batch.state.row_owner import RowOwner, run_order
from greennode_batch.wording import counted

log = logging.getLogger(__name__)


@BUILD.around(
    lambda job, *_, run_id, **_options: {"job": job.name, "run_id": run_id},
    lambda plan: {"rows": plan.rows, "requests": plan.requests, "shards": len(plan.shards)},
)
def build(
    job: BatchJob,
    rows: Callable[[], Rows],
    run: RunFolder,
    *,
    run_id: str,
    profile: ApiProfile,
    target_lookups: Sequence[TargetLookup] = (),
    prices: Prices | None = None,
    job_id: str | None = None,
    data_until: float | None = None,
    limit: int | None = None,
    pilot_requests: int = 0,
    max_shard_tokens: Mapping[str, int] | None = None,
    renews: bool = False,
    clock: Callable[[], float] = time.time,
) -> Plan:
    """Build every shard of a run from its source rows, then the plan. Memory does not grow with the table.

    rows: opens the source. It is called again if shards were sent during this build, or if the answer cache cannot tell
        two rows apart.
    target_lookups: find what the job's targets hold from earlier runs. Rows that every target has answered are not sent
        again; an answer that some targets have and others lack is copied.
    prices: for the estimate; by default, the job's own.
    job_id: the job that owns the run's rows; by default, the job's own id.
    data_until: the end of the run's data, in epoch seconds. Rows that a run of later data has written are not sent,
        because they would stay.
    limit: at most how many rows are sent: the first ones, in the source's order, that have to be. No row behind the
        last of them is read, so the build does not look for orphaned rows.
    pilot_requests: if no results were read yet, how many requests the plan's first shard has at most; it is sent before
        the others. 0 for no pilot.
    max_shard_tokens: by model, how many prompt tokens the connection's server takes in one batch, where it has said so.
        A run that was built before keeps the limits of its first build, so that the same rows make the same shards.
    renews: whether rows that a run of earlier data has settled are written again with their answers, as this run's and
        with its carried columns. Then runs end in the same table in whichever order they come.

    Safe to call on a run that was built before: shards that were sent stay with their rows, and only the rest is built.
    Sends nothing. Raises ConfigError or RowError, with the row's key, for anything that would fail later; BudgetError
    if the source has more rows than the budget allows; SupersededError if another build of the run has begun.
    """
    refuse_removed(run)
    check_exclusive(run.path)
    if limit is not None:
        job = dataclasses.replace(job, orphaned_rows="ignore")
    turn = take_turn(run.path, now=clock())
    mine = run.of_turn(turn)
    old = read_plan(run)
    remove_work_folders(run.path, before=turn)
    before = shards_of(run)
    max_tokens = dict(max_shard_tokens or {}) if old is None else old.max_shard_tokens
    submitted = sent_of(before)
    late: set[str] = set()
    # If this run's report exists, it has updated the answer cache; rows that it left without an answer still belong to
    # this run.
    use_cache = not run.report.exists()
    try:
        while True:
            try:
                with (
                    work_folder(run.path, turn=turn) as work,
                    closing(_load_submitted(job, run, submitted, Path(work), old)) as stay,
                ):
                    builder = _read_all(
                        job,
                        rows(),
                        mine,
                        Path(work),
                        owner=RowOwner(
                            run_id,
                            job_id or job.own_id,
                            # A run without an end of its data is the latest.
                            None if data_until is None else run_order(data_until, clock()),
                        ),
                        profile=profile,
                        submitted=stay,
                        target_lookups=target_lookups,
                        use_cache=use_cache,
                        limit=limit,
                        renews=renews,
                        pilot_requests=0 if _pilot_sent(run, old, submitted) else pilot_requests,
                        max_shard_tokens=max_tokens,
                    )
                    plan = _plan_of(builder, job, old, run_id=run_id, now=clock(), submitted=submitted)
                    pilot = _pilot_sent(run, old, submitted) or builder.shards.pilot
                    plan = msgspec.structs.replace(
                        plan,
                        job_id=job_id or job.own_id,
                        data_until=data_until,
                        pilot=pilot if plan.submitted_shards > 1 else None,
                        max_shard_tokens=max_tokens,
                    )
                    check_turn(run.path, turn)
                    planned = {shard.shard_id for shard in plan.shards}
                    late = withdraw_others(
                        run, turn=turn, planned=planned, submitted=submitted, before=before, clock=clock
                    )
                    if not late:
                        builder.shards.land_sources(turn)
                        check_turn(run.path, turn)
                        plan = msgspec.structs.replace(plan, orphaned=_find_orphaned(builder, plan.owner.order))
                        builder.unchanged.land(plan.orphaned)
                        plan = estimated(plan, run, prices or read_prices(job.prices or {}))
                        return _settled(mine, plan, old, submitted, turn)
                log.info("Shards were sent during this build; building again around them: %s", ", ".join(sorted(late)))
            except RepeatedKeyError as error:
                log.info("%s; building again without the answer cache", error)
                use_cache = False
            before = shards_of(run)
            submitted |= late | sent_of(before)
    except FileNotFoundError:
        check_turn(run.path, turn)  # a later build removes the files of this one
        raise


def _pilot_sent(run: RunFolder, old: Plan | None, submitted: set[str]) -> str | None:
    """The pilot of an earlier build, if it is sent and its results are not there; another is not needed then."""
    if old is None or old.pilot not in submitted:
        return None
    receipt = read_receipt(run.shard(old.pilot))
    return old.pilot if receipt is None or receipt.state != "collected" else None


def _load_submitted(
    job: BatchJob, run: RunFolder, shard_ids: set[str], work: Path, old: Plan | None
) -> SubmittedShards:
    if old is not None and shard_ids and "model" in set(old.target_key).difference(job.target_key):
        raise ConfigError(
            f"job {job.name}: rows that were sent in this run have the key {', '.join(old.target_key)}; the job's is "
            f"{', '.join(job.target_key)} now, so one key would have the answers of several models. Undo that for this "
            "run, or trigger a new one"
        )
    planned = {shard.shard_id: shard for shard in old.shards} if old else {}
    return SubmittedShards(job, [run.shard(shard_id) for shard_id in sorted(shard_ids)], work, planned)


def _read_all(
    job: BatchJob,
    rows: Rows,
    run: RunFolder,
    work: Path,
    *,
    owner: RowOwner,
    profile: ApiProfile,
    submitted: SubmittedShards,
    target_lookups: Sequence[TargetLookup],
    use_cache: bool,
    limit: int | None,
    pilot_requests: int,
    max_shard_tokens: Mapping[str, int],
    renews: bool,
) -> Builder:
    refuse_missing(job, rows.columns)
    builder = Builder(
        job,
        rows.columns,
        run,
        work,
        owner=owner,
        profile=profile,
        submitted=submitted,
        target_lookups=target_lookups,
        use_cache=use_cache,
        limit=limit,
        pilot_requests=pilot_requests,
        max_shard_tokens=max_shard_tokens,
        typed=rows.typed,
        renews=renews,
    )
    # What is passed over is no row of a limited run.
    is_within = limit is not None and (job.budget is None or limit <= (job.budget.max_rows or limit))
    for batch in (rows if is_within else within_max_rows(rows, job.budget)).batches:
        builder.add(batch)
        if builder.is_full:
            break
    return builder


def _find_orphaned(builder: Builder, order: str | None) -> OrphanedRows | None:
    if not builder.unchanged.seeks_orphaned:
        return None
    if not builder.keys.count + builder.unchanged.taken_out:
        log.warning("The source has no rows, so orphaned rows of the target are neither searched for nor removed")
        return None
    return builder.unchanged.orphaned(builder.keys.tables, order=order)


def _plan_of(
    builder: Builder, job: BatchJob, old: Plan | None, *, run_id: str, now: float, submitted: set[str]
) -> Plan:
    is_rebuilt = bool(submitted)
    # A shard that was planned before keeps its index, whether it stays or is built again byte for byte, because the
    # index identifies its mapped task.
    index = {shard.shard_id: number for number, shard in enumerate(old.shards)} if old else {}
    shards = sorted(builder.finish(), key=lambda shard: index.get(shard.shard_id, len(index)))
    # If all shards stay as they were sent, the prompt is the one that was sent, whatever it is now.
    is_as_sent = old is not None and is_rebuilt and all(shard.shard_id in submitted for shard in shards)
    longest = [old.longest] if old and is_rebuilt else []
    return Plan(
        job=job.name,
        run_id=run_id,
        created_at=now,
        key=job.key_columns,
        models=tuple(dict.fromkeys((*job.models, *(shard.model for shard in shards)))),
        rows=sum(shard.rows for shard in shards),
        requests=sum(shard.requests for shard in shards),
        unsent=builder.unsent,
        bytes=sum(shard.bytes for shard in shards),
        longest=max([*longest, builder.longest], key=lambda request: request.bytes),
        prompt_hash=old.prompt_hash if old is not None and is_as_sent else builder.prompt_hash,
        shards=tuple(shards),
        unchanged=builder.unchanged.count,
        target_key=job.target_key,
        remembered=dict(builder.unchanged.remembered),
        attempts=job.attempts,
        answered_before=builder.unchanged.answered_before,
        superseded=builder.unchanged.superseded,
        # Shards that were sent before the job had a tokenizer have estimated counts.
        is_counted=job.tokenizer is not None and (old is None or not is_rebuilt or old.is_counted),
        # Until the targets are proven again.
        answer_limits=old.answer_limits if old is not None else (),
    )


def _settled(run: RunFolder, plan: Plan, old: Plan | None, submitted: set[str], turn: int) -> Plan:
    """Write the plan of this turn. Raises SupersededError if another build has begun."""
    if old is not None:
        told = {"created_at": old.created_at, "estimate": old.estimate, "prices": old.prices}
        if msgspec.structs.replace(plan, **told) == old:
            plan = msgspec.structs.replace(plan, created_at=old.created_at)
    write_json(run.plan, plan)
    # If another build began meanwhile, this plan is not the latest, and no task may continue with it.
    check_turn(run.path, turn)
    if submitted:
        requests = sum(shard.requests for shard in plan.shards if shard.shard_id in submitted)
        new = len(plan.shards) - len(submitted)
        stay = f"{counted(len(submitted), 'shard')} ({counted(requests, 'request')})"
        log.info("Kept %s sent earlier; built %s new", stay, f"{new:,}")
    return plan
