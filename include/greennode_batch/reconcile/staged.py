"""Staged: check by id whether a run's source rows, shards and results agree in staging."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greennode_batch.collect.anomalies import count_anomalies
from greennode_batch.job.prices import Prices
from greennode_batch.reconcile.attempt_tally import Tally
from greennode_batch.request.request_lines import request_ids
from greennode_batch.staging.folders import ATTEMPT_NAME, RunFolder, ShardFolder, fresh_names, local_copy
from greennode_batch.staging.parquet import read_pieces, read_staged
from greennode_batch.state.actual_cost import TOKEN_COLUMNS
from greennode_batch.state.attempts import FIRST_ATTEMPT, SentShard, in_parts, planned_shards, read_retry, retries
from greennode_batch.state.plan import Plan, PlannedShard
from greennode_batch.state.receipts import is_sent, read_receipt
from greennode_batch.state.rows_fingerprint import RowsFingerprint
from greennode_batch.state.split import Split, parts_in, splits_of
from greennode_batch.tables.fingerprint import fingerprint
from greennode_batch.tables.key_sample import KeySample
from greennode_batch.write.join import row_statuses

log = logging.getLogger(__name__)

_COLUMNS = ["custom_id", "status", "batch_id", *TOKEN_COLUMNS]
_READ_AGAIN = (
    "Remove its results.parquet and clear its collect_results: staging has the answers, and nothing is paid twice"
)


class Staged:
    """A run in staging. The constructor reads all its shards. Holds the ids of one shard's requests."""

    def __init__(self, run: RunFolder, plan: Plan, key: Sequence[str], prices: Prices) -> None:
        self._run = run
        self._uncollected = KeySample()
        self._unsent = KeySample()
        self.anomalies: Counter[str] = Counter()
        """Lines of result files that settled no request, by kind."""
        self.anomaly_files: list[str] = []
        """The files with these lines."""
        self.over_capacity = 0
        """Batches that the server refused because it had no capacity."""
        self.repeated = 0
        """Batches that were created beside a shard's own."""
        self.may_be_paid_twice = 0
        """Live requests that may have been billed more than once, at most."""
        self.lost: Counter[str] = Counter()
        """Batches that were given up, by the reason."""
        self.fingerprints: dict[str, RowsFingerprint] = {}
        """The fingerprint of each shard's rows, as staging has them now; empty if there are problems."""
        self.problems: list[str] = []
        """What does not agree, in words, with ids."""
        tallies = [Tally(FIRST_ATTEMPT, prices)]
        splits = splits_of(run, FIRST_ATTEMPT)
        self.splits: list[Split] = [*splits.values()]
        """How shards were split."""
        before = list(in_parts(planned_shards(plan), splits))
        parts: defaultdict[str, list[SentShard]] = defaultdict(list)
        for one in before:
            parts[one.origins[0]].append(one)
        for planned in plan.shards:
            self._check_first(planned, parts[planned.shard_id], tallies[0])
        for retry in retries(run):
            tallies.append(Tally(retry.attempt, prices))
            splits = splits_of(run, retry.attempt)
            self.splits += splits.values()
            again = list(in_parts(retry.planned, splits))
            for sent in again:
                origins = [one for one in before if not set(one.origins).isdisjoint(sent.origins)]
                self._check_later(sent, origins, tallies[-1])
            before = again
        self.attempts = tuple(tally.report() for tally in tallies if tally.shards)
        self.actual_cost = tuple(one for tally in tallies for one in tally.actual_cost)
        """What each collected shard used."""
        self._say_uncollected()
        self._say_unplanned(plan)
        in_plan = sum(planned.rows for planned in plan.shards)
        if in_plan != plan.rows:
            self.problems.append(
                f"{run.plan.name} has {plan.rows:,} rows, but its shards have {in_plan:,}; restore the file"
            )
        if not self.problems:
            # Rows can be joined only if staging agrees.
            for planned in plan.shards:
                rows = row_statuses(run.shard(planned.shard_id), key)
                self.fingerprints[planned.shard_id] = fingerprint(rows, key)

    def _check_first(self, planned: PlannedShard, parts: Sequence[SentShard], tally: Tally) -> None:
        """Check a shard of the first attempt: source.parquet against the plan and the results.

        parts: what was sent of it: the shard itself, or the halves that it was split into.
        """
        shard = self._run.shard(planned.shard_id)
        where = f"shard {planned.shard_id}"
        if not shard.source.exists():
            self.problems.append(f"{where}: {shard.source} is missing, so its rows are unknown; restore the file")
            return
        if planned.copied_into:
            self._check_copied(planned, shard)
            return
        ids, rows = _requested(shard)
        if rows != planned.rows:
            self.problems.append(
                f"{where}: source.parquet has {rows:,} rows, but the plan has {planned.rows:,}; restore the file"
            )
        if len(ids) != planned.requests:
            self.problems.append(
                f"{where}: its rows have {len(ids):,} requests, but the plan has {planned.requests:,}; restore "
                "source.parquet"
            )
            if shard.requests.exists():
                self._compare(f"{where}, its rows and requests.jsonl", ids, pa.array(request_ids(shard), pa.string()))
        if not planned.requests:
            return
        tables = []
        for part in parts:
            folder = part.folder(self._run)
            if not self._was_sent(folder):
                self._unsent.add(part.shard_id)
                continue
            results = self._collected(folder, part.shard_id)
            tally.add(part, results)
            tables += [results] if results is not None else []
        if len(tables) == len(parts):
            self._compare_results(where, ids, pa.concat_tables(tables))

    def _check_copied(self, planned: PlannedShard, shard: ShardFolder) -> None:
        """Check a shard of copied answers: source.parquet and copied.parquet against the plan."""
        if not shard.copied.exists():
            self.problems.append(
                f"shard {planned.shard_id}: {shard.copied} is missing; restore the file, or clear build_requests"
            )
            return
        for path in (shard.source, shard.copied):
            with local_copy(path) as local:
                rows = pq.read_metadata(local).num_rows
            if rows != planned.rows:
                words = f"{path.name} has {rows:,} rows, but the plan has {planned.rows:,}; restore the file"
                self.problems.append(f"shard {planned.shard_id}: {words}")

    def _check_later(self, sent: SentShard, before: Sequence[SentShard], tally: Tally) -> None:
        """Check a shard of a later attempt: its requests against its results and the results of the attempt before.

        before: the shards of that attempt that its requests may come from. An unsent shard is no problem: its rows keep
        the outcome of the attempt before.
        """
        shard = sent.folder(self._run)
        where = f"shard {sent.shard_id} of attempt {sent.attempt}"
        if not shard.path.exists() or not self._was_sent(shard):
            return
        results = self._collected(shard, f"{sent.shard_id} (attempt {sent.attempt})")
        tally.add(sent, results)
        if results is None:
            return
        if shard.requests.exists():
            self._compare_results(where, pa.array(request_ids(shard), pa.string()), results)
        strange = final_ids = results["custom_id"].combine_chunks()
        for earlier in (one.folder(self._run) for one in before):
            if earlier.results.exists():
                said = read_staged(earlier.results, ["custom_id", "ask_again"])
                strange = _without(strange, said["custom_id"])
                final_ids = _without(final_ids, said.filter(said["ask_again"])["custom_id"])
        if len(strange):
            self.problems.append(
                f"{where}: its results have ids that attempt {sent.attempt - 1} did not send: {_key_sample(strange)}. "
                f"{_READ_AGAIN}"
            )
        elif len(final_ids):
            # This is fine if the earlier results have since been read again with another answer model.
            log.warning(
                "%s sent requests again whose earlier outcome is no longer retryable: %s", where, _key_sample(final_ids)
            )

    def _say_uncollected(self) -> None:
        """Add a problem for shards that are not sent or not collected."""
        if self._unsent.count:
            self.problems.append(
                f"shards that were never sent: {self._unsent}. Clear their submit_batch, or run "
                "the command again; nothing was paid for them"
            )
        if self._uncollected.count:
            self.problems.append(
                f"shards that were sent but are not collected: {self._uncollected}. Clear their wait_for_batch, or "
                "run the command again: it finds their batches, and nothing is paid twice"
            )

    def _say_unplanned(self, plan: Plan) -> None:
        """Add a problem for shards that were or may have been sent but are in no plan: no row gets their answers."""
        later = [int(match[1]) for name in fresh_names(self._run.path) if (match := ATTEMPT_NAME.fullmatch(name))]
        for attempt in (FIRST_ATTEMPT, *sorted(later)):
            splits = splits_of(self._run, attempt)
            planned = {shard.shard_id for shard in plan.shards}
            way_out = f"Clear build_requests, or remove {self._run.plan} and run the command again"
            if attempt > FIRST_ATTEMPT:
                retry = read_retry(self._run, attempt)
                planned = {shard.shard_id for shard in retry.shards} if retry is not None else set()
                way_out = f"Clear build_retry_{attempt}, or run the command again"
            folder = self._run.shard("any", attempt=attempt).path.parent
            unplanned = KeySample()
            planned |= {part.shard_id for shard_id in planned for part in parts_in(splits, shard_id)}
            # A shard that was split is not sent itself, and its halves are checked by their own names.
            for name in sorted(set(fresh_names(folder)) - planned - splits.keys()):
                shard = self._run.shard(name, attempt=attempt)
                if is_sent(shard):
                    receipt = read_receipt(shard)
                    unplanned.add(f"{name} ({receipt.batch_id if receipt and receipt.batch_id else 'no receipt yet'})")
            if unplanned.count:
                self.problems.append(
                    f"shards of attempt {attempt} that were sent but are in no plan: {unplanned}. {way_out}: the sent "
                    "shards are kept with their rows, and nothing is paid twice"
                )

    def _was_sent(self, shard: ShardFolder) -> bool:
        receipt = read_receipt(shard)
        if receipt is None:
            return shard.path.exists() and is_sent(shard)
        self.over_capacity += len(receipt.over_capacity)
        self.repeated += len(receipt.repeated)
        self.may_be_paid_twice += receipt.live.may_be_paid_twice if receipt.live is not None else 0
        if receipt.lost is not None:
            self.lost[receipt.lost] += 1
        return True

    def _collected(self, shard: ShardFolder, name: str) -> pa.Table | None:
        """Read the shard's results without the answers; None if it is not collected."""
        counts = count_anomalies(shard)
        if counts:
            self.anomalies.update(counts)
            self.anomaly_files.append(str(shard.anomalies))
        receipt = read_receipt(shard)
        if receipt is not None and shard.results.exists():
            results = read_staged(shard.results, _COLUMNS)
            # A worker may be killed before it writes the receipt. Results of another batch do not count.
            if receipt.state == "collected" or pc.all(pc.equal(results["batch_id"], receipt.answered_by)).as_py():
                return results
        self._uncollected.add(name)
        return None

    def _compare_results(self, where: str, requested: pa.Array, results: pa.Table) -> None:
        answered = results["custom_id"].unique()
        if len(answered) < results.num_rows:
            twice = pc.value_counts(results["custom_id"])
            ids = twice.field("values").filter(pc.greater(twice.field("counts"), 1))
            self.problems.append(f"{where}: results.parquet has ids more than once: {_key_sample(ids)}. {_READ_AGAIN}")
        self._compare(f"{where}, its requests and results.parquet", requested, answered)

    def _compare(self, what: str, here: pa.Array, there: pa.Array) -> None:
        for lacking, words in ((_without(here, there), "lacks ids"), (_without(there, here), "has other ids")):
            if len(lacking):
                self.problems.append(f"{what}: the latter {words}: {_key_sample(lacking)}. {_READ_AGAIN}")


def _requested(shard: ShardFolder) -> tuple[pa.Array, int]:
    """The ids of the requests of a shard's rows, and the number of rows."""
    ids = pa.nulls(0, pa.string())
    with local_copy(shard.source) as path, pq.ParquetFile(path) as file:
        for rows in read_pieces(file, ["custom_id"]):
            ids = pa.chunked_array([ids, *rows["custom_id"].drop_null().chunks]).unique()
        return ids, file.metadata.num_rows


def _without(ids: pa.Array, others: pa.Array | pa.ChunkedArray) -> pa.Array:
    value_set = others.combine_chunks() if isinstance(others, pa.ChunkedArray) else others
    return ids.filter(pc.invert(pc.is_in(ids, value_set=value_set)))


def _key_sample(ids: pa.Array) -> str:
    named = KeySample()
    named.add_keys(pa.table([ids], names=["custom_id"]))
    return str(named)
