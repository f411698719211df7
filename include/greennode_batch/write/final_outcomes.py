"""Final outcomes: the rows for which the target remembers that their request gets no answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.answers.final_outcome import OF_THE_ROW, is_final
from greennode_batch.collect.collect import count_results
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.attempts import FIRST_ATTEMPT, SentShard, retries, sent_shards
from greennode_batch.state.plan import Plan
from greennode_batch.state.receipts import read_receipt
from greennode_batch.state.row_status import RowStatus
from greennode_batch.state.systematic_failure import fails_systematically

# For an attempt with more shards, a sample of this size is enough; each shard's join reads it.
_READ_SHARDS = 100


class FinalOutcomes:
    """The values of the column `greennode_final` for a run's rows: NULL, or what the outcome is final for.

    In a run that fails systematically, no outcome is final. How the shards ended is read once, and only if some row
    needs it.
    """

    def __init__(self, run: RunFolder, plan: Plan) -> None:
        self._run = run
        self._plan = plan

    def of_results(self, results: pa.Table, *, attempt: int, model_hash: str | None) -> pa.ChunkedArray:
        """The values for results of an attempt. model_hash: the hash of the answer model that they were read with."""
        rows_are_final = is_final(results)
        if 0 < self._plan.attempts <= attempt:
            is_misfit = pc.equal(results["status"], RowStatus.INVALID_OUTPUT.value)
            rows_are_final = pc.or_(rows_are_final, pc.fill_null(is_misfit, fill_value=False))
        return self._only(rows_are_final, model_hash)

    def of_unsent(self, reasons: pa.ChunkedArray) -> pa.ChunkedArray:
        """The values for unsent rows. reasons: why they were not sent; NULL for other rows, which get NULL."""
        return self._only(pc.is_valid(reasons), OF_THE_ROW)

    def _only(self, rows_are_final: pa.ChunkedArray, what_for: str | None) -> pa.ChunkedArray:
        is_any = pc.any(rows_are_final).as_py() and not self._is_systematic
        given = pa.scalar(what_for if is_any else None, pa.string())
        return pc.if_else(rows_are_final, given, pa.scalar(None, pa.string()))

    @cached_property
    def _is_systematic(self) -> bool:
        numbers = (FIRST_ATTEMPT, *(retry.attempt for retry in retries(self._run)))
        answered = sum(self._answered(sent_shards(self._run, self._plan, number)) for number in numbers)
        return fails_systematically(self._plan.requests, round(answered))

    def _answered(self, shards: Sequence[SentShard]) -> float:
        """How many requests of an attempt were answered; with many shards, an estimate from a sample of them."""
        some = shards[:: -(-len(shards) // _READ_SHARDS) or 1]
        requested = sum(shard.requests for shard in some)
        answered = sum(self._answered_in(shard) for shard in some)
        return answered * sum(shard.requests for shard in shards) / requested if requested else 0

    def _answered_in(self, sent: SentShard) -> int:
        shard = sent.folder(self._run)
        receipt = read_receipt(shard)
        statuses = receipt.statuses if receipt is not None else {}
        if not statuses and shard.results.exists():  # a worker was killed before it wrote the receipt
            statuses = count_results(shard)
        return statuses.get(RowStatus.SUCCEEDED.value, 0)
