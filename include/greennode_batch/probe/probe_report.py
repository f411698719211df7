"""The findings as text. Pure functions."""

from __future__ import annotations

import json

from greennode_batch.api.profile import ApiProfile
from greennode_batch.probe.found import Found
from greennode_batch.probe.state import LINES_A_BATCH, MAX_BATCHES, MAX_CHATS, ProbeBatch, State
from greennode_batch.probe.tiny_requests import MAX_TOKENS, SCHEMA_TOKENS

STATUS = "Status words"
LIMITS = "Limits and headers"
TOPICS = (
    "Key and models",
    "Chat",
    "Files",
    "Creating a batch",
    STATUS,
    "The list of batches",
    "Results",
    "One bad line",
    "Cancel and delete",
    "What a cancel leaves",
    LIMITS,
)


def announcement() -> str:
    """The most that a probe may cost, shown before anything is sent."""
    lines = MAX_BATCHES * LINES_A_BATCH
    return (
        f"At most {MAX_CHATS} chats and {MAX_BATCHES} batches of {LINES_A_BATCH} lines will be sent: "
        f"{MAX_CHATS + lines} requests, each limited to {MAX_TOKENS} tokens of answer (one chat to {SCHEMA_TOKENS})."
    )


def spent(state: State) -> str:
    """What was sent, shown afterwards."""
    batches = len(state.batches)
    return (
        f"Sent: {state.chats} chats, {batches} batches with {batches * LINES_A_BATCH} lines; "
        f"{state.calls} calls in all. Refused requests count here, and usually cost nothing."
    )


def as_markdown(state: State, made: Found) -> str:
    """The whole report."""
    lines = [f"# How {state.base_url} speaks", ""]
    lines += [f"Model: {state.model or 'none'}. First profile: {state.preset}. {spent(state)}", ""]
    if state.ended is not None:
        lines += [f"**The probe ended early: {state.ended}**", ""]
    grouped = _by_topic(state)
    for topic in [*TOPICS, *(one for one in grouped if one not in TOPICS)]:
        if grouped.get(topic):
            lines += [f"## {topic}", "", *(f"- {words}" for words in grouped[topic]), ""]
    lines += ["## Not found out", ""]
    unknown = [
        f"{what[:1].upper()}{what[1:]}: {why.rstrip('.')}." for what, why in {**state.open, **state.pending}.items()
    ]
    unknown.append("Limits of a file, retention, and how long batches take: only a large batch would show them.")
    if made.unseen:
        unknown.append(f"These fields could not be checked; they come from the preset: {', '.join(made.unseen)}.")
    lines += [*(f"- {words}" for words in unknown), ""]
    lines += ["## What to ask the provider", "", *(f"- {words}" for words in _questions(state)), ""]
    lines += _left(state)
    lines += ["## The profile for the connection", ""]
    lines += _profile(state, made)
    return "\n".join(lines) + "\n"


def _questions(state: State) -> list[str]:
    """Questions that only the provider can answer, and those that this probe left open."""
    seen = [(what, why.rstrip(".")) for what, why in state.open.items()]
    return [
        *(f"About {what}: the probe found that {why}. How is it meant?" for what, why in seen),
        "How large may a file be, in lines and bytes, and how many tokens may wait at a time?",
        "How long are files and results kept, and how long may a batch take?",
        "Does the list show a batch as soon as its create is accepted, and does a create that is sent twice run twice?",
        "What is billed for a batch that is cancelled, expires or fails midway?",
    ]


def as_json(state: State, made: Found) -> dict[str, object]:
    """The same for programs."""
    return {
        "base_url": state.base_url,
        "model": state.model,
        "ended_early": state.ended,
        "findings": [{"topic": one.topic, "words": one.words, "shown_by": one.shown_by} for one in state.findings],
        "status_words": {one.id: [(word.word, word.seconds) for word in one.words] for one in state.batches},
        "limits_and_headers": state.headers,
        "not_found_out": {**state.open, **state.pending},
        "left_behind": state.left,
        "sent": {
            "calls": state.calls,
            "chats": state.chats,
            "batches": len(state.batches),
            "lines": len(state.batches) * LINES_A_BATCH,
        },
        "seen": state.seen,
        "also_accepted": state.also,
        "profile": made.extra,
    }


def _by_topic(state: State) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for one in state.findings:
        shown = f" ({', '.join(one.shown_by)})" if one.shown_by else ""
        grouped.setdefault(one.topic, []).append(one.words + shown)
    grouped[STATUS] = [_life(one) for one in state.batches if one.words]
    if state.headers:
        named = ", ".join(f"{name}: {value}" for name, value in state.headers.items())
        grouped.setdefault(LIMITS, []).append(f"Headers seen: {named}.")
    for words in state.limit_words:
        grouped.setdefault(LIMITS, []).append(f"A refusal mentions a limit: {words.rstrip('.')}.")
    return grouped


def _life(one: ProbeBatch) -> str:
    words = ", ".join(f"{word.word} ({word.seconds} s)" for word in one.words)
    unknown = " The client does not know this word." if one.batch.status.value == "unknown" else ""
    return f"Batch {one.role}: {words}.{unknown}"


def _left(state: State) -> list[str]:
    left = list(state.left)
    left += [
        f"a batch of file {file_id} may exist (its create was not answered)" for file_id in state.creating.values()
    ]
    left += [f"batch {one.id} ({one.role}) has not ended" for one in state.batches if not one.ended]
    if not left:
        return []
    return ["## Left behind on the server", "", *(f"- {words}." for words in left), ""]


def _profile(state: State, made: Found) -> list[str]:
    if not state.has_profile:
        return ["The probe learned too little to make a profile: no batch was created.", ""]
    extra = json.dumps(made.extra, indent=2)
    lines = ["Put this into the connection's extra field:", "", "```json", extra, "```", ""]
    same = made.profile == ApiProfile()
    if same:
        lines += ["These are the defaults: a connection needs no extra.", ""]
    others = [f"{name} = {json.dumps(value)}" for name, values in state.also.items() for value in values]
    if others:
        lines += [f"These were accepted as well: {', '.join(others)}.", ""]
    return lines
