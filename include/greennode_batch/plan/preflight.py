"""Preflight: before anything is paid for a whole table, ask what can be asked in seconds.

Is the key accepted, is the model on the server's list, and does the model take the job's own first request? A
prompt or parameter that it rejects fails here with the API's words, instead of tomorrow with 50,000 error lines.
"""

from __future__ import annotations

import difflib
import itertools
import logging
from collections.abc import Iterable

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.answers.outcome import outcome_of
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.cost.budget_check import check_budget, refuse_unpriced
from greennode_batch.cost.estimated_plan import estimate_again
from greennode_batch.errors import (
    AmbiguousError,
    ConfigError,
    GreenNodeError,
    NotFoundError,
    RejectedError,
    RetryableError,
)
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.prices import Prices
from greennode_batch.plan.preview import PlannedRequest, first_requests
from greennode_batch.request.token_counter import TokenCounter, token_counter
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.canaries import Canary, read_canaries, write_canaries
from greennode_batch.state.plan import Plan
from greennode_batch.state.row_status import RowStatus
from greennode_batch.wording import given_by

log = logging.getLogger(__name__)

_SHOWN_MODELS = 10
_NO_OUTCOME = "unknown"


def check_models(client: GreenNodeClient, models: Iterable[str]) -> None:
    """Raise ConfigError for a model that is not on the server's list; an API without a list passes."""
    try:
        listed = [model.id for model in client.list_models()]
    except (NotFoundError, RejectedError) as error:
        log.warning("The server does not list its models (%s); they are not checked", error)
        return
    for name in models:
        if listed and name not in listed:
            by_lower = {known.lower(): known for known in listed}
            near = difflib.get_close_matches(name.lower(), by_lower, n=1)
            hint = f"did you mean {by_lower[near[0]]!r}?" if near else f"it has {', '.join(listed[:_SHOWN_MODELS])}."
            raise ConfigError(f"model {name!r} is not on the server's list: {hint} Nothing was sent")


def settle_cost(
    job: BatchJob, run: RunFolder, plan: Plan, client: GreenNodeClient, reader: AnswerReader, *, prices: Prices
) -> Plan:
    """Try the first requests, and hold what the run may cost by them against the job's budget; the plan, estimated so.

    Where earlier runs tell what it may cost, or nothing is tried, the budget comes first. Raises BudgetError, and
    ConfigError as `try_canaries` does.
    """
    plan = estimate_again(plan, run, prices)
    refuse_unpriced(plan, job.budget)
    if not job.canary or (plan.estimate and plan.estimate.seen_requests):
        check_budget(plan, job.budget)
    try_canaries(run, plan, client, reader, count=job.canary, counter=token_counter(job) if plan.is_counted else None)
    plan = estimate_again(plan, run, prices)
    check_budget(plan, job.budget)
    return plan


def try_canaries(
    run: RunFolder,
    plan: Plan,
    client: GreenNodeClient,
    reader: AnswerReader,
    *,
    count: int,
    counter: TokenCounter | None = None,
) -> tuple[Canary, ...]:
    """Ask the first `count` requests of each model in real time, and raise ConfigError if one is refused.

    An answer that would not count as one is a warning. A server without a chat endpoint, or one that is too busy,
    is a warning as well. What was asked for this run before is not asked again. counter: of the plan's tokens, where
    they are counted.
    """
    requested = {canary.custom_id: canary for canary in read_canaries(run)}
    canaries: list[Canary] = []
    for model in plan.models if count else ():
        for request in itertools.islice(first_requests(run, plan, model), count):
            if request.custom_id not in requested:
                # Written before it is asked: whoever is killed meanwhile does not pay for it again.
                unknown = Canary(request.custom_id, model, _NO_OUTCOME, 0, 0)
                write_canaries(run, [*requested.values(), unknown])
                try:
                    canary = _ask(request, plan, client, reader, counter)
                except GreenNodeError:
                    write_canaries(run, requested.values())
                    raise
                if canary is not None:
                    requested[request.custom_id] = canary
                write_canaries(run, requested.values())
                if canary is None:
                    return tuple(canaries)
            canaries.append(requested[request.custom_id])
    return tuple(canaries)


def _ask(
    request: PlannedRequest, plan: Plan, client: GreenNodeClient, reader: AnswerReader, counter: TokenCounter | None
) -> Canary | None:
    """Ask one request; None where this server cannot be asked live."""
    try:
        result = client.chat(request.body)
    except RejectedError as error:
        raise ConfigError(
            f"model {request.model} refused the request of {request.row(plan)}: {error}. No batch was created; mend "
            f"the prompt, the answer model or {given_by('params')} ({given_by('canary', value='0')} skips this check)"
        ) from error
    except NotFoundError as error:
        if "model" in f"{error.code} {error}".lower():
            raise ConfigError(f"model {request.model} cannot be used: {error}. No batch was created") from error
        log.warning("This server has no chat endpoint (%s): the requests are sent untried", error)
        return None
    except RetryableError as error:
        log.warning("The first request could not be tried live, going on without: %s", error)
        return None
    except AmbiguousError as error:
        log.warning("It is not known what became of the first request, going on without: %s", error)
        return Canary(request.custom_id, request.model, _NO_OUTCOME, 0, 0)
    outcome = outcome_of(result, reader)
    if outcome.status is RowStatus.SUCCEEDED:
        log.info("The first request was tried: %d completion tokens", result.completion_tokens)
    else:
        log.warning("The answer to %s would not count: %s: %s", request.row(plan), outcome.status, outcome.error)
    return Canary(
        custom_id=request.custom_id,
        model=request.model,
        status=outcome.status.value,
        prompt_tokens=result.prompt_tokens,
        completion_tokens=result.completion_tokens,
        cached_tokens=result.cached_tokens,
        reasoning_tokens=result.reasoning_tokens,
        estimated_prompt_tokens=request.prompt_tokens(counter),
        is_counted=counter is not None,
    )
