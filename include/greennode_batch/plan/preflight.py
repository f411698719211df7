"""Preflight: checks in seconds what would otherwise fail after a whole table was sent.

Does the server accept the key, does it list the model, and does the model accept the job's first request? A prompt or
parameter that it rejects fails here with the API's words, instead of in 50,000 error lines tomorrow.
"""

from __future__ import annotations

import difflib
import itertools
import logging
import time
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
    """Raise ConfigError for a model that is not on the server's list; with a broken list, or none, all pass.

    Raises RetryableError if the server does not answer.
    """
    if not client.profile.check_models:
        return
    try:
        listed = [model.id for model in client.list_models()]
    except (NotFoundError, RejectedError, RetryableError) as error:
        if error.status is None:
            raise  # It did not answer at all, so nothing else will go through either.
        log.warning("The server does not list its models (%s); model names are not checked", error)
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
    """Try the first requests, then check the estimate against the job's budget; return the plan with the new estimate.

    If earlier runs already show what the run may cost, or no request is tried, the budget is checked first. Raises
    BudgetError, and ConfigError as `try_canaries` does.
    """
    plan = estimate_again(plan, run, prices)
    refuse_unpriced(plan, job.budget)
    if not job.canary or (plan.estimate and plan.estimate.seen_requests):
        check_budget(plan, job.budget, live=job.live)
    try_canaries(run, plan, client, reader, count=job.canary, counter=token_counter(job) if plan.is_counted else None)
    plan = estimate_again(plan, run, prices)
    check_budget(plan, job.budget, live=job.live)
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
    """Send the first `count` requests of each model live, and raise ConfigError if the API rejects one.

    An answer that is not valid is a warning, and so is a server that has no chat endpoint or is too busy. A request
    that this run has already tried is not sent again.

    counter: the token counter of the plan, if its tokens are counted.
    """
    requested = {canary.custom_id: canary for canary in read_canaries(run)}
    canaries: list[Canary] = []
    for model in plan.models if count else ():
        for request in itertools.islice(first_requests(run, plan, model), count):
            if request.custom_id not in requested:
                # Recorded before it is sent, so that a task that is killed meanwhile does not pay for it again.
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
    """Send one request; None if the server cannot answer it live."""
    began = time.monotonic()
    try:
        result = client.chat(request.body)
    except RejectedError as error:
        raise ConfigError(
            f"model {request.model} rejected the request of {request.row(plan)}: {error}. No batch was created; fix "
            f"the prompt, the answer model or {given_by('params')} ({given_by('canary', value='0')} skips this check)"
        ) from error
    except NotFoundError as error:
        if error.names_model:
            raise ConfigError(
                f"model {request.model} cannot be used: {error}. No batch was created; change the job's model"
            ) from error
        log.warning("The server has no chat endpoint (%s); the first requests cannot be tried", error)
        return None
    except RetryableError as error:
        log.warning("The first request could not be tried; continuing without its result: %s", error)
        return None
    except AmbiguousError as error:
        log.warning("The first request may have been answered and billed; continuing without its result: %s", error)
        return Canary(request.custom_id, request.model, _NO_OUTCOME, 0, 0)
    seconds = time.monotonic() - began
    outcome = outcome_of(result, reader)
    if outcome.status is RowStatus.SUCCEEDED:
        log.info("The first request succeeded: %d completion tokens", result.completion_tokens)
    else:
        log.warning("The request of %s did not succeed: %s: %s", request.row(plan), outcome.status, outcome.error)
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
        seconds=seconds,
    )
