"""Written targets: the rows of a run in each open target. Removes files of datasets that no longer count."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from greennode_batch.reconcile.differences import target_key
from greennode_batch.reconcile.written import TableRows, WrittenRows
from greennode_batch.reconcile.written_files import DatasetRows
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.joined_shard import JoinedShard, joined_shards
from greennode_batch.state.plan import Plan, read_plan
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.file_lookup import remove_replaced
from greennode_batch.write.target_writer import OpenTarget

log = logging.getLogger(__name__)


def written_rows(
    run: RunFolder, targets: Sequence[OpenTarget], *, run_id: str, job_id: str | None = None
) -> list[WrittenRows]:
    """The run's rows in each target.

    In a dataset, this first removes the files of shards that a later build withdrew, and the rows that others replace.
    job_id: the run's job, if there is no plan any more that names it.
    """
    plan = read_plan(run)
    if plan is not None:
        job_id = plan.owner.job_id
    rows: list[WrittenRows] = []
    for target in targets:
        if isinstance(target, Dataset):
            if plan is not None:
                _settle(run, plan, target)
            rows.append(DatasetRows(target))
        else:
            rows.append(TableRows(target, run_id, job_id=job_id))
    return rows


def _settle(run: RunFolder, plan: Plan, dataset: Dataset) -> None:
    joined = joined_shards(run, plan)
    if len(joined) < len(plan.shards):
        return  # workers may still be writing
    withdrawn = [path for path in dataset.files() if _is_withdrawn(path, dataset, joined)]
    for path in withdrawn:
        dataset.remove(path)
    if withdrawn:
        log.info("Removed %d files of earlier builds of this run from dataset %s", len(withdrawn), dataset.name)
    replaced = remove_replaced(dataset, target_key(run, plan))
    if replaced:
        log.info("Removed %s rows from dataset %s that newer rows replace", f"{replaced:,}", dataset.name)


def _is_withdrawn(path: str, dataset: Dataset, joined: dict[str, JoinedShard]) -> bool:
    shard_id = dataset.shard_of(path)
    return shard_id not in joined or path not in joined[shard_id].files.get(dataset.name, (path,))
