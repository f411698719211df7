"""Same failure: nearly all requests of a model end unusable for one reason. Another attempt would only cost again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow.compute as pc

from greennode_batch.answers.outcome import CUT_IN_REASONING
from greennode_batch.api.retryable import is_retryable
from greennode_batch.errors import SystematicFailureError
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.staging.parquet import read_staged
from greennode_batch.state.attempts import sent_shards
from greennode_batch.state.plan import read_plan
from greennode_batch.state.row_status import RowStatus
from greennode_batch.state.shard_model import model_of
from greennode_batch.state.stops import Stop, failing_path, is_in_run, lift_stop, note_stop, stops_folder, stops_in
from greennode_batch.state.systematic_failure import LEAST_REQUESTS
from greennode_batch.wording import done_again

_COLUMNS = ("status", "error", "raw_answer")
_SAMPLES = 5
_SAMPLE_CHARACTERS = 2_000
_EMPTY, _UNFIT, _REFUSED = "the answers are empty", "the answers do not fit the answer model", "the answers are refused"
_CUT = "the answers are cut off while the model thinks"
_HTTP = re.compile(r"4\d\d(?= |$)")
_WAYS_OUT = {
    _EMPTY: "Check whether the model answers in real time; then check its id, params (max_tokens) and the messages",
    _UNFIT: "Compare the samples with the answer model, and change the prompt, `answer` or model; or tell the model "
    "what is wrong with its answers (explain_errors=True)",
    _REFUSED: "Find the reason in the samples, and change the prompt or the model",
    _CUT: "Raise max_tokens in params",
}
_WAY_OUT_OF_HTTP = "Read the server's message in the samples, and change the request (params, prompt) or the model"


class SameFailure(NamedTuple):
    """So many of a model's requests ended for one reason. samples: the answers or errors of some of them."""

    reason: str
    failed: int
    requests: int
    samples: tuple[str, ...]

    def noted(self, shard: ShardFolder, model: str, *, now: float) -> str:
        """Record it in the run of a shard, so that nothing more is sent for the model; returns it in words."""
        path = failing_path(shard, model)
        words = (
            f"{self.failed:,} of {self.requests:,} requests of model {model} ({self.failed / self.requests:.0%}) ended "
            f"unusable for one reason: {self.reason}. Nothing more is sent for this model in this run, as it would end "
            f"so again, and be paid again. {_WAYS_OUT.get(self.reason, _WAY_OUT_OF_HTTP)}; samples are in {path}. "
            f"To send anyway, set systematic_failure_ratio=None in the job and {done_again('collect_results')}"
        )
        stop = Stop("systematic_failure", model, shard.shard_id, shard.attempt, words, self.samples, now)
        note_stop(path, stop)
        return words


def same_failure(
    shards: Sequence[ShardFolder],
    ratio: float,
    *,
    explains_errors: bool = False,
    least_requests: int = LEAST_REQUESTS,
) -> SameFailure | None:
    """The reason for which at least `ratio` of so many requests ended unusable; None if there is none.

    shards: of one model; only collected ones count. explains_errors: then answers that do not fit are no such reason,
    because the next attempt sends another request.
    """
    collected = [shard for shard in shards if shard.results.exists()]
    if not _may_be_systematic(collected, ratio, least_requests):
        return None
    reasons: Counter[str | None] = Counter()
    samples: dict[str | None, list[str]] = {}
    for shard in collected:
        results = read_staged(shard.results, _COLUMNS)
        for status, error, answer in zip(*(results[name].to_pylist() for name in _COLUMNS), strict=True):
            reason = _reason(status, error or "", answer)
            reasons[reason] += 1
            if len(kept := samples.setdefault(reason, [])) < _SAMPLES:
                kept.append(": ".join(filter(None, (error, answer)))[:_SAMPLE_CHARACTERS])
    requests = reasons.total()
    ignored = {None, _UNFIT} if explains_errors else {None}
    for reason, failed in reasons.most_common():
        if reason is not None and reason not in ignored and failed >= requests * ratio:
            return SameFailure(reason, failed, requests, tuple(samples[reason]))
    return None


def refuse_same_failure(shard: ShardFolder, ratio: float | None, *, explains_errors: bool, now: float) -> None:
    """Raise SystematicFailureError if a collected shard shows that its model fails systematically in its run.

    The model's other collected shards of the attempt count as well. ratio: None lifts a stop of the model.
    """
    standing = {stop.model: stop for stop in stops_in(stops_folder(shard)) if stop.kind == "systematic_failure"}
    if ratio is None:
        if standing:
            lift_stop(failing_path(shard, model_of(shard)))
        return
    if same_failure([shard], ratio, explains_errors=explains_errors, least_requests=1) is None:
        return
    model = model_of(shard)
    if (stop := standing.get(model)) is not None:
        raise SystematicFailureError(stop.words)
    failure = same_failure(_like(shard, model), ratio, explains_errors=explains_errors)
    if failure is not None:
        raise SystematicFailureError(failure.noted(shard, model, now=now))


def _like(shard: ShardFolder, model: str) -> list[ShardFolder]:
    """The shards of the same model and attempt, including this one."""
    plan = read_plan(shard.run) if is_in_run(shard) else None
    sent = sent_shards(shard.run, plan, shard.attempt) if plan is not None else []
    return [one.folder(shard.run) for one in sent if one.model == model] or [shard]


def _may_be_systematic(shards: Sequence[ShardFolder], ratio: float, least_requests: int) -> bool:
    """Whether there are enough requests, and few enough of them have an answer; that alone decides for most runs."""
    requests = succeeded = 0
    for shard in shards:
        statuses = read_staged(shard.results, ["status"])["status"]
        requests += len(statuses)
        succeeded += pc.sum(pc.equal(statuses, RowStatus.SUCCEEDED.value)).as_py() or 0
    return requests >= least_requests and succeeded <= requests * (1 - ratio)


def _reason(status: str, error: str, answer: str | None) -> str | None:
    if status == RowStatus.INVALID_OUTPUT:
        return _UNFIT if answer and not answer.isspace() else _EMPTY
    if status == RowStatus.REFUSED:
        return _REFUSED
    if status == RowStatus.TRUNCATED and error.startswith(CUT_IN_REASONING):
        return _CUT
    http = _HTTP.match(error) if status == RowStatus.FAILED else None
    return f"HTTP {http[0]}" if http and not is_retryable(int(http[0])) else None
