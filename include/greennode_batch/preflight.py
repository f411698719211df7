"""Preflight: before anything is paid for a whole table, ask what can be asked in seconds.

Is the key accepted, is the model on the server's list, and does the model take the job's own first request? A
prompt or parameter that it rejects fails here with the API's words, instead of tomorrow with 50,000 error lines.
"""

from __future__ import annotations

import difflib
import itertools
import logging
from collections.abc import Iterable

import msgspec

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.build.plan import Plan
from greennode_batch.build.preview import PlannedRequest, first_requests
from greennode_batch.collect.answers import AnswerReader
from greennode_batch.collect.verdicts import RowStatus, judge
from greennode_batch.errors import (
    AmbiguousError,
    ConfigError,
    GreenNodeError,
    NotFoundError,
    RejectedError,
    RetryableError,
)
from greennode_batch.staging import RunFolder, read_json, write_json

log = logging.getLogger(__name__)

_SHOWN_MODELS = 10
_NO_OUTCOME = "unknown"


class Canary(msgspec.Struct, frozen=True):
    """One request that was asked in real time, and what became of it. It costs the full price of one row.

    `status` is "unknown" while, or if, it is not known.
    """

    custom_id: str
    model: str
    status: str
    prompt_tokens: int
    completion_tokens: int


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


def try_canaries(
    run: RunFolder, plan: Plan, client: GreenNodeClient, reader: AnswerReader, *, count: int
) -> tuple[Canary, ...]:
    """Ask the first `count` requests of each model in real time, and raise ConfigError if one is refused.

    An answer that would not count as one is a warning. A server without a chat endpoint, or one that is too busy,
    is a warning as well. What was asked for this run before is not asked again.
    """
    asked = {canary.custom_id: canary for canary in read_json(run.canary, tuple[Canary, ...]) or ()}
    canaries: list[Canary] = []
    for model in plan.models if count else ():
        for request in itertools.islice(first_requests(run, plan, model), count):
            if request.custom_id not in asked:
                # Written before it is asked: whoever is killed meanwhile does not pay for it again.
                unknown = Canary(request.custom_id, model, _NO_OUTCOME, 0, 0)
                write_json(run.canary, [*asked.values(), unknown])
                try:
                    canary = _ask(request, plan, client, reader)
                except GreenNodeError:
                    write_json(run.canary, list(asked.values()))
                    raise
                if canary is not None:
                    asked[request.custom_id] = canary
                write_json(run.canary, list(asked.values()))
                if canary is None:
                    return tuple(canaries)
            canaries.append(asked[request.custom_id])
    return tuple(canaries)


def _ask(request: PlannedRequest, plan: Plan, client: GreenNodeClient, reader: AnswerReader) -> Canary | None:
    """Ask one request; None where this server cannot be asked in real time."""
    try:
        result = client.chat(request.body)
    except RejectedError as error:
        raise ConfigError(
            f"model {request.model} refused the request of {request.row(plan)}: {error}. No batch was created; mend "
            "the prompt, the answer model or params (canary=0 skips this check)"
        ) from error
    except NotFoundError as error:
        if "model" in f"{error.code} {error}".lower():
            raise ConfigError(f"model {request.model} cannot be used: {error}. No batch was created") from error
        log.warning("This server has no chat endpoint (%s): the requests are sent untried", error)
        return None
    except RetryableError as error:
        log.warning("The first request could not be tried in real time, going on without: %s", error)
        return None
    except AmbiguousError as error:
        log.warning("It is not known what became of the first request, going on without: %s", error)
        return Canary(request.custom_id, request.model, _NO_OUTCOME, 0, 0)
    verdict = judge(result, reader)
    if verdict.status is RowStatus.SUCCEEDED:
        log.info("The first request was tried: %d completion tokens", result.completion_tokens)
    else:
        log.warning("The answer to %s would not count: %s: %s", request.row(plan), verdict.status, verdict.error)
    return Canary(
        custom_id=request.custom_id,
        model=request.model,
        status=verdict.status.value,
        prompt_tokens=result.prompt_tokens,
        completion_tokens=result.completion_tokens,
    )
