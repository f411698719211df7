"""Checks: what a job's declaration must be like, found out when it is declared, before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from greennode_batch.errors import ConfigError
from greennode_batch.job.budget import check_spending
from greennode_batch.job.columns import RESULT_COLUMNS, SAMPLE
from greennode_batch.job.targets import check_targets

if TYPE_CHECKING:
    from greennode_batch.job.batch_job import BatchJob

# Columns of results.parquet alone, where the answer's columns stand as well.
_RESULTS_ONLY = ("ask_again", "raw_answer", "cached_tokens", "reasoning_tokens")
# Columns of source.parquet alone: why a row is not sent, and by what it is known to be unchanged.
_RESERVED = ("unsent", "row_hashes")
_OWN_PARAMS = ("model", "messages", "stream", "n", "response_format")
_CHOICES = {
    "on_ambiguous": ("fail", "resubmit"),
    "on_kill": ("cancel", "leave"),
    "refresh": ("changed", "all", None),
    "left_rows": ("report", "remove", "ignore"),
}


def check_job(job: BatchJob) -> None:
    """Raise ConfigError for a declaration that cannot work."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", job.name):
        raise ConfigError(f"job name {job.name!r}: use letters, digits, '_', '-' and '.' only")
    _refuse_wrong_kinds(job)
    if not job.key_columns or not all(job.key_columns):
        raise ConfigError(f"job {job.name}: key is empty; name the column(s) that identify a row")
    if not job.models or not all(job.models):
        raise ConfigError(f"job {job.name}: model is empty; take an id from the server's model list")
    if len(set(job.models)) < len(job.models):
        raise ConfigError(f"job {job.name}: a model is named twice; each row would have two answers by one key")
    _refuse_no_question(job)
    _refuse_wrong_params(job)
    if job.attempts < 1:
        raise ConfigError(f"job {job.name}: attempts is {job.attempts}; it is 1 (ask once) or more")
    if job.deadline_hours <= 0:
        raise ConfigError(
            f"job {job.name}: deadline_hours is {job.deadline_hours}; it should be longer than the API's window"
        )
    if job.pool is not None and not job.pool.strip():
        raise ConfigError(f"job {job.name}: pool is empty; name a pool of Airflow, or leave it out")
    if job.canary < 0:
        raise ConfigError(f"job {job.name}: canary is {job.canary}; it is 0 (none) or more")
    if not 0 <= job.max_failed_ratio <= 1:
        raise ConfigError(f"job {job.name}: max_failed_ratio is {job.max_failed_ratio}; it lies in 0..1")
    check_spending(job.name, job.budget, job.prices)
    _refuse_equal_columns(job)


def _refuse_no_question(job: BatchJob) -> None:
    if (job.prompt is None) == (job.messages is None):
        raise ConfigError(f"job {job.name}: give either prompt= or messages=")
    if job.messages is not None and not job.messages:
        raise ConfigError(f"job {job.name}: messages is empty; the last of them asks the question")
    if job.messages is not None and not all(isinstance(message, Mapping) for message in job.messages):
        raise ConfigError(f"job {job.name}: messages is a list of objects, each with role and content")
    if job.prompt is not None and not job.prompt.strip():
        raise ConfigError(f"job {job.name}: the prompt is empty; write what to ask of each row")
    if job.messages is not None and job.system is not None:
        raise ConfigError(f"job {job.name}: system= goes with prompt=; with messages= put it into the list")


def _refuse_wrong_kinds(job: BatchJob) -> None:
    """What a type checker would find, for those who run none."""
    if isinstance(job.carry, str):
        raise ConfigError(f'job {job.name}: carry is a tuple of column names: carry=("{job.carry}",)')
    _refuse_wrong_answer(job)
    for name, choices in _CHOICES.items():
        if getattr(job, name) not in choices:
            words = " or ".join(choice for choice in choices if choice)
            raise ConfigError(f"job {job.name}: {name} is {getattr(job, name)!r}; it is {words}")
    if not isinstance(job.keep_remote_files, bool | None):
        raise ConfigError(
            f"job {job.name}: keep_remote_files is {job.keep_remote_files!r}; it is True, False or left out"
        )
    if not isinstance(job.tokenizer, str | None) or job.tokenizer == "":
        raise ConfigError(
            f"job {job.name}: tokenizer is {job.tokenizer!r}; it is the path of a tokenizer.json, or left out"
        )
    _refuse_wrong_counts(job)


def _refuse_wrong_counts(job: BatchJob) -> None:
    for name, one in (("partitions", "one task reads"), ("samples", "one answer to each request")):
        count = getattr(job, name)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ConfigError(f"job {job.name}: {name} is {count!r}; it is 1 ({one}) or more")
    for name in ("max_shard_requests", "max_shard_bytes"):
        cap = getattr(job, name)
        if cap is not None and cap < 1:
            raise ConfigError(f"job {job.name}: {name} is {cap}; it is at least 1, or left out")


def _refuse_wrong_answer(job: BatchJob) -> None:
    if job.answer is not None and not (isinstance(job.answer, type) and issubclass(job.answer, BaseModel)):
        raise ConfigError(f"job {job.name}: answer is a Pydantic model (a class), not {job.answer!r}")
    if job.answer is not None and not job.answer.model_fields:
        raise ConfigError(f"job {job.name}: the answer model {job.answer.__name__} has no fields")
    if job.explain_errors and job.answer is None:
        raise ConfigError(
            f"job {job.name}: explain_errors says what is wrong with answers that do not fit the answer model, "
            "and there is none; give answer= a Pydantic model, or leave explain_errors out"
        )


def _refuse_wrong_params(job: BatchJob) -> None:
    if not isinstance(job.row_params, Mapping) or not all(map(_is_name, job.row_params.values())):
        raise ConfigError(
            f"job {job.name}: row_params are fields of a request, each with the name of its column: "
            f'{{"max_tokens": "token_limit"}}, not {job.row_params!r}'
        )
    if {"max_tokens", "max_completion_tokens"} <= job.row_params.keys():
        raise ConfigError(f"job {job.name}: row_params name the limit of tokens twice; take max_tokens alone")
    for kind, params in (("params", job.params), ("row_params", job.row_params)):
        taken = [name for name in _OWN_PARAMS if name in params]
        if taken:
            hint = "; for several answers to each request give samples=" if "n" in taken else ""
            raise ConfigError(f"job {job.name}: {kind} may not hold {', '.join(taken)}: the job sets them{hint}")


def _refuse_equal_columns(job: BatchJob) -> None:
    seen: set[str] = set()
    sample = (SAMPLE,) if job.samples > 1 else ()
    for column in (*job.key_columns, *job.carry, *sample, *job.answer_columns, *RESULT_COLUMNS):
        if column in _RESERVED or (column in _RESULTS_ONLY and column in job.answer_columns):
            raise ConfigError(f"job {job.name}: the name {column!r} is taken; give the column another (AS …)")
        if column in seen:
            raise ConfigError(
                f"job {job.name}: the target would have the column {column!r} twice; rename it in the "
                f"query or the answer model (taken: {', '.join((*sample, *RESULT_COLUMNS))})"
            )
        seen.add(column)
    check_targets(job.name, job.targets, seen)
    if job.refresh == "changed" and job.known_table is None:
        raise ConfigError(
            f"job {job.name}: refresh='changed' asks a table which rows are answered, and no target is one; add a "
            "SqlTarget, or leave refresh out"
        )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
