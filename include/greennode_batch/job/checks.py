"""Checks across several fields of a job, made when it is declared, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from greennode_batch.errors import ConfigError
from greennode_batch.wording import given_by

# Columns that only results.parquet has. It also holds the answer's columns.
_RESULTS_ONLY = ("ask_again", "raw_answer", "cached_tokens", "reasoning_tokens")
# Columns that only source.parquet has: why a row is not sent, and the hashes that show it is unchanged.
_RESERVED = ("unsent", "row_hashes")
_OWN_PARAMS = ("model", "messages", "stream", "n", "response_format")


def check_question(prompt: str | None, system: str | None, messages: Sequence[Mapping[str, Any]] | None) -> None:
    """Raise ConfigError unless the job gives exactly one question, as a prompt or as messages."""
    if (prompt is None) == (messages is None):
        raise ConfigError(f"give either {given_by('prompt', 'prompt=')} or {given_by('messages', 'messages=')}")
    if messages is not None and not messages:
        raise ConfigError(
            f"{given_by('messages')} is empty; give at least one message, the last of which asks the question"
        )
    if prompt is not None and not prompt.strip():
        raise ConfigError("the prompt is empty; write what to ask of each row")
    if messages is not None and system is not None:
        system, prompt = given_by("system", "system="), given_by("prompt", "prompt=")
        raise ConfigError(f"{system} goes with {prompt}; with {given_by('messages', 'messages=')} put it into the list")


def check_answer(answer: type[BaseModel] | None, *, explain_errors: bool) -> None:
    """Raise ConfigError for an answer model without fields, or explain_errors without an answer model."""
    if answer is not None and not answer.model_fields:
        raise ConfigError(
            f"the answer model {answer.__name__} has no fields; give it one for each column of the answer"
        )
    if explain_errors and answer is None:
        raise ConfigError(
            "explain_errors says what is wrong with answers that do not fit the answer model, but the job has no "
            f"answer model; give {given_by('answer', 'answer=')} a Pydantic model, or leave explain_errors out"
        )


def check_params(params: Mapping[str, Any], row_params: Mapping[str, str]) -> None:
    """Raise ConfigError for request fields that the job sets itself."""
    if {"max_tokens", "max_completion_tokens"} <= row_params.keys():
        raise ConfigError("row_params sets the limit of tokens twice; use max_tokens alone")
    for kind, given in (("params", params), ("row_params", row_params)):
        taken = [name for name in _OWN_PARAMS if name in given]
        if taken:
            hint = (
                f"; for several answers to each request give {given_by('samples', 'samples=')}" if "n" in taken else ""
            )
            raise ConfigError(f"{given_by(kind)} may not hold {', '.join(taken)}: the job sets them{hint}")


def check_columns(from_source: Sequence[str], from_answer: Sequence[str], own: Sequence[str]) -> None:
    """Raise ConfigError for column names that are reserved or occur twice. own: columns that every target has."""
    seen = set(own)
    for column in (*from_source, *from_answer):
        if column in _RESERVED or (column in _RESULTS_ONLY and column in from_answer):
            raise ConfigError(f"the name {column!r} is taken; give the column another (AS …)")
        if column in seen:
            raise ConfigError(
                f"the target would have the column {column!r} twice; rename it in the source or the answer model "
                f"(taken: {', '.join(own)})"
            )
        seen.add(column)
