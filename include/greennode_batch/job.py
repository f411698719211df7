"""What a user declares: a source, a key, a prompt, a model and a target make a `BatchJob`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from greennode_batch.api.polling import DEADLINE_SECONDS
from greennode_batch.errors import ConfigError
from greennode_batch.job_budget import Budget, check_spending
from greennode_batch.job_sources import FileSource, Source, SqlSource
from greennode_batch.job_targets import FileTarget, SqlTarget, Target, check_targets
from greennode_batch.job_texts import read_job_text

__all__ = [
    "RESULT_COLUMNS",
    "BatchJob",
    "Budget",
    "FileSource",
    "FileTarget",
    "SqlSource",
    "SqlTarget",
    "read_job_text",
]

RESULT_COLUMNS = (
    "status",
    "error",
    "finish_reason",
    "reasoning",
    "model",
    "prompt_tokens",
    "completion_tokens",
    "custom_id",
    "batch_id",
    "run_id",
    "completed_at",
)
"""Columns that every target has after the key, the carried columns and the answer."""

SAMPLE = "sample"
"""The column that every target has after the carried ones where a job asks for several samples."""

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


@dataclass(frozen=True, kw_only=True)
class BatchJob:
    """One answer per row of a table (per row, model and sample, where several of these are asked for).

    name: identifies the job; the DAG's id. source: where rows come from. target: where answers go; several
    targets (in a tuple) get every row each.
    key: the column(s) that identify a row: never NULL, never twice. carry: more columns copied to the target.
    model: an id of the server's model list, or several. prompt: Jinja over the row's columns, or a file
    below `include/jobs`. system: the same, for the system message. messages: in place of both, chat messages
    with Jinja in any of their strings: contents (texts, or lists of parts), image URLs, names. answer: a Pydantic
    model whose fields become the target's columns; without it the target has one text column `answer`. params: further
    fields of each request body (`max_tokens`, `tools`, …). row_params: such fields that a column gives, by name:
    `{"max_tokens": "token_limit"}`; where it is NULL, it is as `params` say, or left out.
    conn_id: the GreenNode connection. canary: how many requests of each model are tried in real time, at the full
    price, before the table is sent; 0 sends it untried. max_failed_ratio: the share of rows that may end without
    an answer before the run is called failed. on_ambiguous: what to do when a create may have been accepted and the
    server cannot tell: `fail` asks a person, `resubmit` risks paying a shard twice. max_shard_requests,
    max_shard_bytes: caps below the API's own. attempts: how often a request is asked at most; asked again is only
    what is missing, expired, cancelled, invalid or failed in a way that may pass. deadline_hours: how long after its
    creation a batch is waited for; then it is cancelled, and what is finished is kept. on_kill: `cancel` ends the
    remote batch when a waiting task is marked as failed or as success, `leave` lets it run.
    keep_remote_files: whether the run's files stay at GreenNode once their contents are safe; by default as the
    connection says, which deletes them unless told otherwise.

    explain_errors: whether a model is shown its answer, and what is wrong with it, where that did not fit the answer
    model and is asked again. keep_reasoning: whether what a model thinks goes into the target's column
    `reasoning`, which is NULL otherwise. Staging has it in any case: a join that is cleared can still bring it.

    refresh: `changed` asks only rows that are new to the table they go to, whose request is another one than the one
    that was answered there, or that have no good answer yet; `all` asks every row again. By default `changed` if all
    targets are tables. Of a row that is not asked the target stays as it is, carried columns too. left_rows: rows of
    the table that the source does not have (any more): `report` counts them, `remove` deletes them when the requests
    are built, `ignore` does not look for them.

    Where model is a list, be it of one, `model` is part of the target's key. A run may ask some of the models: what the
    others have answered stays in the table, also to rows that have left the source.

    samples: how many answers to each request; each is paid. Over 1 the target has a column `sample` (1, 2, …) after the
    carried ones, which is part of its key. Where it is raised later, the answers that are there stay, and only the
    others are asked for.

    partitions: by how many tasks of Airflow the source is read and its requests are rendered, where one is too slow.
    A query on PostgreSQL (14 or later) is divided by a hash of the key; any other by a condition that it has itself:
    `WHERE mod(id, {{ partitions }}) = {{ partition }}`, with `partition` counted from 0. Of a folder each task reads
    some of the files, of a single Parquet file some of its row groups. The parts are not read at the same moment. The
    command line reads in one process, whatever is said here.

    budget: what a run may cost and how many rows it may have at most, and from which cost on a person is asked first.
    prices: of the models, as `{"MODEL": [prompt, completion], "currency": "VND"}`, real-time list prices per million
    tokens; an entry here wins over that of the connection (see prices.py). tokenizer: a Hugging Face `tokenizer.json`,
    a file below `include/jobs` or a whole path, by which the estimate counts prompts, where the length of the texts is
    too rough; it needs the extra `greennode-airflow[tokenizer]`. Tokens of a chat template are not in it.

    pool: an Airflow pool, in whose slots the job's batches are sent and waited for; it must count deferred tasks
    (set-up makes such a one, `greennode`). Of a pool that does not exist Airflow says nothing: the tasks stay
    scheduled for ever. The command line does not heed it.

    Raises ConfigError for a declaration that cannot work.
    """

    name: str
    source: Source
    key: str | tuple[str, ...]
    model: str | Sequence[str]
    target: Target | Sequence[Target]
    prompt: str | None = None
    system: str | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    carry: tuple[str, ...] = ()
    answer: type[BaseModel] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    row_params: Mapping[str, str] = field(default_factory=dict)
    conn_id: str = "greennode_default"
    canary: int = 1
    max_failed_ratio: float = 0.05
    max_shard_requests: int | None = None
    max_shard_bytes: int | None = None
    attempts: int = 2
    explain_errors: bool = False
    keep_reasoning: bool = False
    deadline_hours: float = DEADLINE_SECONDS / 3600
    on_ambiguous: Literal["fail", "resubmit"] = "fail"
    on_kill: Literal["cancel", "leave"] = "cancel"
    keep_remote_files: bool | None = None
    refresh: Literal["changed", "all"] | None = None
    left_rows: Literal["report", "remove", "ignore"] = "report"
    partitions: int = 1
    budget: Budget | None = None
    prices: Mapping[str, Any] | None = None
    samples: int = 1
    pool: str | None = None
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work, while nothing is sent yet."""
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.name):
            raise ConfigError(f"job name {self.name!r}: use letters, digits, '_', '-' and '.' only")
        self._refuse_wrong_kinds()
        if not self.key_columns or not all(self.key_columns):
            raise ConfigError(f"job {self.name}: key is empty; name the column(s) that identify a row")
        if not self.models or not all(self.models):
            raise ConfigError(f"job {self.name}: model is empty; take an id from the server's model list")
        if len(set(self.models)) < len(self.models):
            raise ConfigError(f"job {self.name}: a model is named twice; each row would have two answers by one key")
        self._refuse_no_question()
        self._refuse_wrong_params()
        if self.attempts < 1:
            raise ConfigError(f"job {self.name}: attempts is {self.attempts}; it is 1 (ask once) or more")
        if self.deadline_hours <= 0:
            raise ConfigError(
                f"job {self.name}: deadline_hours is {self.deadline_hours}; it should be longer than the API's window"
            )
        if self.pool is not None and not self.pool.strip():
            raise ConfigError(f"job {self.name}: pool is empty; name a pool of Airflow, or leave it out")
        if self.canary < 0:
            raise ConfigError(f"job {self.name}: canary is {self.canary}; it is 0 (none) or more")
        if not 0 <= self.max_failed_ratio <= 1:
            raise ConfigError(f"job {self.name}: max_failed_ratio is {self.max_failed_ratio}; it lies in 0..1")
        check_spending(self.name, self.budget, self.prices)
        self._refuse_equal_columns()

    def _refuse_no_question(self) -> None:
        if (self.prompt is None) == (self.messages is None):
            raise ConfigError(f"job {self.name}: give either prompt= or messages=")
        if self.messages is not None and not self.messages:
            raise ConfigError(f"job {self.name}: messages is empty; the last of them asks the question")
        if self.messages is not None and not all(isinstance(message, Mapping) for message in self.messages):
            raise ConfigError(f"job {self.name}: messages is a list of objects, each with role and content")
        if self.prompt is not None and not self.prompt.strip():
            raise ConfigError(f"job {self.name}: the prompt is empty; write what to ask of each row")
        if self.messages is not None and self.system is not None:
            raise ConfigError(f"job {self.name}: system= goes with prompt=; with messages= put it into the list")

    def _refuse_wrong_kinds(self) -> None:
        """What a type checker would find, for those who run none."""
        if isinstance(self.carry, str):
            raise ConfigError(f'job {self.name}: carry is a tuple of column names: carry=("{self.carry}",)')
        self._refuse_wrong_answer()
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                words = " or ".join(choice for choice in choices if choice)
                raise ConfigError(f"job {self.name}: {name} is {getattr(self, name)!r}; it is {words}")
        if not isinstance(self.keep_remote_files, bool | None):
            raise ConfigError(
                f"job {self.name}: keep_remote_files is {self.keep_remote_files!r}; it is True, False or left out"
            )
        if not isinstance(self.tokenizer, str | None) or self.tokenizer == "":
            raise ConfigError(
                f"job {self.name}: tokenizer is {self.tokenizer!r}; it is the path of a tokenizer.json, or left out"
            )
        self._refuse_wrong_counts()

    def _refuse_wrong_counts(self) -> None:
        for name, one in (("partitions", "one task reads"), ("samples", "one answer to each request")):
            count = getattr(self, name)
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ConfigError(f"job {self.name}: {name} is {count!r}; it is 1 ({one}) or more")
        for name in ("max_shard_requests", "max_shard_bytes"):
            cap = getattr(self, name)
            if cap is not None and cap < 1:
                raise ConfigError(f"job {self.name}: {name} is {cap}; it is at least 1, or left out")

    def _refuse_wrong_answer(self) -> None:
        if self.answer is not None and not (isinstance(self.answer, type) and issubclass(self.answer, BaseModel)):
            raise ConfigError(f"job {self.name}: answer is a Pydantic model (a class), not {self.answer!r}")
        if self.answer is not None and not self.answer.model_fields:
            raise ConfigError(f"job {self.name}: the answer model {self.answer.__name__} has no fields")
        if self.explain_errors and self.answer is None:
            raise ConfigError(
                f"job {self.name}: explain_errors says what is wrong with answers that do not fit the answer model, "
                "and there is none; give answer= a Pydantic model, or leave explain_errors out"
            )

    def _refuse_wrong_params(self) -> None:
        if not isinstance(self.row_params, Mapping) or not all(map(_is_name, self.row_params.values())):
            raise ConfigError(
                f"job {self.name}: row_params are fields of a request, each with the name of its column: "
                f'{{"max_tokens": "token_limit"}}, not {self.row_params!r}'
            )
        if {"max_tokens", "max_completion_tokens"} <= self.row_params.keys():
            raise ConfigError(f"job {self.name}: row_params name the limit of tokens twice; take max_tokens alone")
        for kind, params in (("params", self.params), ("row_params", self.row_params)):
            taken = [name for name in _OWN_PARAMS if name in params]
            if taken:
                hint = "; for several answers to each request give samples=" if "n" in taken else ""
                raise ConfigError(f"job {self.name}: {kind} may not hold {', '.join(taken)}: the job sets them{hint}")

    def _refuse_equal_columns(self) -> None:
        seen: set[str] = set()
        sample = (SAMPLE,) if self.samples > 1 else ()
        for column in (*self.key_columns, *self.carry, *sample, *self.answer_columns, *RESULT_COLUMNS):
            if column in _RESERVED or (column in _RESULTS_ONLY and column in self.answer_columns):
                raise ConfigError(f"job {self.name}: the name {column!r} is taken; give the column another (AS …)")
            if column in seen:
                raise ConfigError(
                    f"job {self.name}: the target would have the column {column!r} twice; rename it in the "
                    f"query or the answer model (taken: {', '.join((*sample, *RESULT_COLUMNS))})"
                )
            seen.add(column)
        check_targets(self.name, self.targets, seen)
        if self.refresh == "changed" and self.known_table is None:
            raise ConfigError(
                f"job {self.name}: refresh='changed' asks a table which rows are answered, and no target is one; add a "
                "SqlTarget, or leave refresh out"
            )

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The key as a tuple of column names."""
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)

    @property
    def models(self) -> tuple[str, ...]:
        """The models as a tuple, in the order given."""
        return (self.model,) if isinstance(self.model, str) else tuple(self.model)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets as a tuple, in the order given."""
        return tuple(self.target) if isinstance(self.target, Sequence) else (self.target,)

    @property
    def known_table(self) -> SqlTarget | None:
        """The table that tells which rows are answered already; None if every row is to be asked."""
        tables = [target for target in self.targets if isinstance(target, SqlTarget)]
        refresh = self.refresh or ("changed" if len(tables) == len(self.targets) else "all")
        return tables[0] if tables and refresh == "changed" else None

    @property
    def answer_columns(self) -> tuple[str, ...]:
        """The answer model's fields, or `answer`."""
        return tuple(self.answer.model_fields) if self.answer else ("answer",)

    @property
    def deadline_seconds(self) -> float:
        """How long after its creation a batch is waited for."""
        return self.deadline_hours * 3600

    @property
    def target_key(self) -> tuple[str, ...]:
        """What identifies a row of the target: the key, the model where it is a list, the sample where several are."""
        model = () if isinstance(self.model, str) else ("model",)
        sample = (SAMPLE,) if self.samples > 1 else ()
        return (*self.key_columns, *model, *sample)

    @property
    def asks(self) -> tuple[tuple[str, int], ...]:
        """What is asked about each row: the models, each for its samples, counted from 1."""
        return tuple(itertools.product(self.models, range(1, self.samples + 1)))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
