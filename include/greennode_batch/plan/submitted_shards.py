"""Submitted shards: shards that were sent, and stay as they are when the run is built again.

A row is identified by its key, model and sample, a request by its custom_id, both as source.parquet stores them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.cost.estimate import estimate_tokens
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.columns import SAMPLE
from greennode_batch.plan.source_rows import OWN_COLUMNS, BuiltShard, SourceRows
from greennode_batch.plan.submitted_index import SubmittedIndex, key_texts
from greennode_batch.source.column_types import kept_forms, unify
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.staging.parquet import read_staged, staged_schema
from greennode_batch.state.plan import PlannedShard


class SubmittedShard(BuiltShard):
    """A shard that was sent. Its requests and rows stay; `rows` takes further rows with the same requests."""

    def __init__(self, shard: ShardFolder, table: pa.Table, rows: SourceRows, planned: PlannedShard | None) -> None:
        super().__init__(rows, shard.source, table.schema)
        requested = table.filter(table["custom_id"].is_valid())
        size = shard.requests.stat().st_size
        self.unsent = table.num_rows - requested.num_rows
        self._planned = PlannedShard(
            shard_id=shard.shard_id,
            model=requested["model"][0].as_py(),  # rows that are not sent may be in a shard of any model
            requests=pc.count_distinct(requested["custom_id"]).as_py(),
            rows=table.num_rows,
            bytes=size,
            prompt_tokens=planned.prompt_tokens if planned else estimate_tokens(size, size),
            max_completion_tokens=planned.max_completion_tokens if planned else None,
        )

    @property
    def shard_id(self) -> str:
        """The name of its folder."""
        return self._planned.shard_id

    def planned(self) -> PlannedShard:
        """The shard's entry in the plan."""
        return msgspec.structs.replace(self._planned, rows=self._planned.rows + len(self.rows))


class SubmittedShards:
    """The shards that stay, and the index of their rows and requests. Holds one shard at a time."""

    def __init__(
        self, job: BatchJob, shards: Sequence[ShardFolder], work: Path, planned: Mapping[str, PlannedShard]
    ) -> None:
        """Read and index the shards.

        planned: their entries in the earlier plan, by shard id.
        work: a folder for the rows that join them.
        """
        self.shards: list[SubmittedShard] = []
        self._index = SubmittedIndex(work) if shards else None
        names = [*job.key_columns]
        schema = unify([_schema(job, shard).remove_metadata() for shard in shards])
        self._key_fields = [schema.field(name) for name in names] if shards else []
        for index, shard in enumerate(shards):
            table = read_staged(shard.source)
            rows = SourceRows(work, f"kept-{shard.shard_id}")
            self.shards.append(SubmittedShard(shard, table, rows, planned.get(shard.shard_id)))
            keys = table.select(names).cast(pa.schema(self._key_fields))
            assert self._index is not None
            first = pa.repeat(pa.scalar(1, pa.int64()), table.num_rows)
            samples = table[SAMPLE] if job.samples > 1 else first
            # A row has one place in a target whose key has no model, whichever model it was sent to.
            models = table["model"] if "model" in job.target_key else pa.repeat(job.models[0], table.num_rows)
            self._index.add(keys, models, samples, table["custom_id"], index)

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()

    @property
    def rows(self) -> int:
        """How many rows of the source lie in these shards, for one model and sample or more."""
        return self._index.rows if self._index else 0

    @property
    def unsent(self) -> int:
        """The number of rows in these shards that are not sent."""
        return sum(shard.unsent for shard in self.shards)

    def indexes_of(self, custom_ids: Sequence[str]) -> Mapping[str, int]:
        """Map each of these requests that is in one of the shards to the shard's index in `shards`."""
        return self._index.indexes_of(custom_ids) if self._index else {}

    def custom_ids_of(self, key_columns: Sequence[Sequence[Any]]) -> Iterator[set[tuple[str, int]]]:
        """Yield, for each key, the models and samples for which one of these shards has the row.

        key_columns: the values of a batch of rows, one sequence for each column of the key, as the source gives them.
        """
        assert self._index is not None
        forms = [
            kept_forms(values, field.name, field.type)
            for values, field in zip(key_columns, self._key_fields, strict=True)
        ]
        schema = pa.schema(self._key_fields)
        readings = [key_texts(pa.table(list(columns), schema=schema)) for columns in itertools.product(*forms)]
        found = self._index.custom_ids_of(itertools.chain(*readings))
        for keys in zip(*readings, strict=True):
            yield set().union(*(found.get(key, ()) for key in keys))


def _schema(job: BatchJob, shard: ShardFolder) -> pa.Schema:
    """The types of a submitted shard's rows. Raises ConfigError if they do not fit the job as it is now."""
    for path in (shard.requests, shard.source):
        if not path.exists():
            raise ConfigError(
                f"{path}: is missing, although this shard was sent; restore the file, or trigger a new run"
            )
    schema = staged_schema(shard.source)
    had = set(schema.names) - set(OWN_COLUMNS)
    wanted = {*job.target_key, *job.carry} - {"model"}
    if had != wanted:
        raise ConfigError(
            f"job {job.name}: rows that this run has sent have the columns {', '.join(sorted(had))}; the job's key "
            f"and carried columns are now {', '.join(sorted(wanted))}. Undo this change, or trigger a new run"
        )
    return schema
