"""The plan: what was built from a table, written down last, so that a run with a plan is a run that is built."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from greennode_batch.api.profile import ApiProfile
from greennode_batch.build.builder import Builder, LongestRequest, PlannedShard
from greennode_batch.build.source import Rows
from greennode_batch.errors import ConfigError
from greennode_batch.job import BatchJob
from greennode_batch.receipts import latest_claim, read_receipt
from greennode_batch.staging import (
    RunFolder,
    ShardFolder,
    read_json,
    remove_tree,
    remove_work_folders,
    work_folder,
    write_json,
)


class Plan(msgspec.Struct, frozen=True):
    """plan.json: what a run asks. `rows` counts source rows times models; `unsent` those that are not asked."""

    job: str
    run_id: str
    created_at: float
    key: tuple[str, ...]
    models: tuple[str, ...]
    rows: int
    requests: int
    unsent: int
    bytes: int
    longest: LongestRequest
    prompt_hash: str
    shards: tuple[PlannedShard, ...]

    @property
    def prompt_tokens(self) -> dict[str, int]:
        """Prompt tokens by model: an estimate."""
        return self._by_model(lambda shard: shard.prompt_tokens)

    @property
    def requests_by_model(self) -> dict[str, int]:
        """Requests by model."""
        return self._by_model(lambda shard: shard.requests)

    def _by_model(self, number: Callable[[PlannedShard], int]) -> dict[str, int]:
        return {model: sum(number(shard) for shard in self.shards if shard.model == model) for model in self.models}

    @property
    def repeated(self) -> int:
        """Rows that ask what another row asks already: joined, and not paid again."""
        return self.rows - self.unsent - self.requests

    def __str__(self) -> str:
        return (
            f"{self.rows:,} rows: {self.requests:,} requests in {self.submitted_shards:,} shards "
            f"({self.bytes / 1e6:,.1f} MB), {self.repeated:,} rows share another row's request, "
            f"{self.unsent:,} unsent"
        )

    @property
    def submitted_shards(self) -> int:
        """Shards that hold a request. One that holds unsent rows alone is joined, never submitted."""
        return sum(shard.requests > 0 for shard in self.shards)


def read_plan(run: RunFolder) -> Plan | None:
    """The run's plan, or None if it is not built."""
    return read_json(run.plan, Plan)


def build(job: BatchJob, rows: Rows, run: RunFolder, *, run_id: str, profile: ApiProfile) -> Plan:
    """Build every shard of a run from its rows, and the plan. Holds one shard's kept columns and all request ids.

    Raises ConfigError or RowError, with the row's key, for whatever would fail later; nothing is sent here.
    """
    missing = [name for name in (*job.key_columns, *job.carry) if name not in rows.columns]
    if missing:
        raise ConfigError(
            f"job {job.name}: the source has no column {', '.join(missing)} (it has {', '.join(rows.columns)}); "
            "name the key and carried columns as the query does. Nothing was sent"
        )
    remove_work_folders(run.path)
    with work_folder(run.path) as work:
        builder = Builder(job, rows.columns, run, Path(work), profile)
        for batch in rows.batches:
            for row in batch:
                builder.add(row)
        shards = builder.finish()
        plan = Plan(
            job=job.name,
            run_id=run_id,
            created_at=time.time(),
            key=job.key_columns,
            models=job.models,
            rows=sum(shard.rows for shard in shards),
            requests=sum(shard.requests for shard in shards),
            unsent=builder.unsent,
            bytes=sum(shard.bytes for shard in shards),
            longest=builder.longest,
            prompt_hash=builder.prompt_hash,
            shards=tuple(shards),
        )
    write_json(run.plan, plan)
    _remove_unplanned(run, plan)
    return plan


def _remove_unplanned(run: RunFolder, plan: Plan) -> None:
    """Remove the shards that an earlier build of this run left, but for those that were sent."""
    planned = {shard.shard_id for shard in plan.shards}
    for path in list(run.shards.iterdir()) if run.shards.exists() else []:
        shard = ShardFolder(path)
        if shard.shard_id not in planned and read_receipt(shard) is None and latest_claim(shard) is None:
            remove_tree(path)
