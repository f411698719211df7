"""Approval: a person's yes or no to what a run may cost, and the text that they decide on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from greennode_batch.cost.budget_check import needs_approval
from greennode_batch.errors import BudgetError
from greennode_batch.job.budget import Budget
from greennode_batch.job.live_mode import Live
from greennode_batch.job.prices import amount
from greennode_batch.plan.preview import PlannedRequest, first_requests
from greennode_batch.staging.folders import RunFolder, read_json, write_json
from greennode_batch.state.approval_record import Approval
from greennode_batch.state.plan import Plan, read_plan
from greennode_batch.state.receipts import is_sent

_SAMPLES = 3
_SHOWN_CHARACTERS = 1_000


def must_be_approved(run: RunFolder, plan: Plan, budget: Budget | None, *, live: Live | None = None) -> bool:
    """Whether a person must approve the plan before it is sent. If not, an earlier rejection is removed.

    A plan that was approved and is being sent needs no second approval, unless a new build made it more expensive.
    Raises BudgetError if the cost is unknown.
    """
    sent = [is_sent(run.shard(shard.shard_id)) for shard in plan.shards if shard.requests]
    said = read_json(run.approval, Approval)
    is_approved = any(sent) and said is not None and said.approved and _cost(plan) <= said.cost
    if not all(sent) and needs_approval(plan, budget, live=live) and not is_approved:
        return True
    if said is not None and not said.approved:
        run.approval.unlink()
    return False


def note_approval_request(run: RunFolder, plan: Plan) -> None:
    """Record that approval of the plan was requested."""
    write_json(run.approval, Approval(_cost(plan), plan.estimate.currency if plan.estimate else ""))


def note_answer(run: RunFolder, *, approved: bool, by: str, at: float) -> Approval:
    """Record the decision. Raises BudgetError if the plan has changed since the request and costs more."""
    requested, plan = read_json(run.approval, Approval), read_plan(run)
    if requested is None or plan is None or (approved and _cost(plan) > requested.cost):
        raise BudgetError(
            f"{run}: the run was built again after its approval was requested, and may cost more. None of the new "
            "requests was submitted; clear approve_spend to request approval again"
        )
    said = msgspec.structs.replace(requested, approved=approved, by=by, at=at)
    write_json(run.approval, said)
    return said


def approval_text(run: RunFolder, plan: Plan, budget: Budget) -> str:
    """The plan, its estimate and the first prompts, in Markdown."""
    expected = plan.estimate
    assert expected is not None, "approval depends on the estimate"
    currency = expected.currency
    most = "not known" if expected.max_cost is None else amount(expected.max_cost, currency)
    limit = amount(budget.approve_over or 0, currency)
    numbers = {
        "estimated cost": f"**about {amount(_cost(plan), currency)}**, at most {most}",
        "approval needed above": f"{limit} (`approve_over`)",
        "estimated": expected.basis,
        "rows": f"{plan.rows:,}",
        "requests": f"{plan.requests:,}",
        **({"sent again": plan.repeat_warning} if plan.answered_before else {}),
        "shards": f"{plan.submitted_shards:,}",
        "prompt tokens": f"about {expected.prompt_tokens:,}",
        "completion tokens": f"about {_counted(expected.completion_tokens)}, at most "
        f"{_counted(expected.max_completion_tokens)}",
        "models": ", ".join(f"{model} ({count:,} requests)" for model, count in plan.requests_by_model.items()),
    }
    table = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in numbers.items())]
    samples = [_fenced(_requested(request, plan)) for request in itertools.islice(_in_turns(run, plan), _SAMPLES)]
    return "\n\n".join(["\n".join(table), "Nothing has been sent yet. The first requests are:", *samples])


def _cost(plan: Plan) -> float:
    assert plan.estimate is not None and plan.estimate.cost is not None, "a budget has a known cost"  # noqa: PT018
    return plan.estimate.cost


def _counted(tokens: int | None) -> str:
    return "not known" if tokens is None else f"{tokens:,}"


def _in_turns(run: RunFolder, plan: Plan) -> Iterator[PlannedRequest]:
    """Yield the first requests, alternating between the models."""
    of_models = [itertools.islice(first_requests(run, plan, model), _SAMPLES) for model in plan.models]
    for together in itertools.zip_longest(*of_models):
        yield from filter(None, together)


def _requested(request: PlannedRequest, plan: Plan) -> str:
    lines = [f"{request.row(plan)}, model {request.model}"]
    for message in request.body["messages"]:
        lines += [f"[{message['role']}]", _text(message.get("content"))]
    return "\n".join(lines)


def _text(content: Any) -> str:
    return content if isinstance(content, str) else msgspec.json.encode(content).decode()


def _fenced(text: str) -> str:
    """The beginning of a text in a code block whose fence does not occur in the text."""
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS]}… ({len(text):,} characters in all)"
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
