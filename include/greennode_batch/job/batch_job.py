"""What a user declares: a source, a key, a prompt, a model and a target make a `BatchJob`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, InstanceOf
from pydantic.dataclasses import dataclass

from greennode_batch.api.polling.polling import DEADLINE_SECONDS
from greennode_batch.errors import ConfigError
from greennode_batch.job.budget import Budget
from greennode_batch.job.checks import check_answer, check_columns, check_params, check_question
from greennode_batch.job.columns import OWNER_COLUMNS, RESULT_COLUMNS, SAMPLE
from greennode_batch.job.declaration import Declaration
from greennode_batch.job.prices import read_prices
from greennode_batch.job.sources import FileSource, SqlSource
from greennode_batch.job.targets import FileTarget, SqlTarget, Target, check_targets
from greennode_batch.wording import given_by

_Name = Annotated[str, Field(min_length=1)]
# A list is taken as well.
_Names = Annotated[tuple[_Name, ...], Field(strict=False)]
_Target = InstanceOf[SqlTarget] | InstanceOf[FileTarget]


@dataclass(frozen=True, kw_only=True)
class BatchJob(Declaration):
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
    conn_id: the GreenNode connection. canary: how many requests of each model are tried live, at the full
    price, before the table is sent; 0 sends it untried. max_failed_ratio: the share of all rows that may end without an
    answer in a run before it is called failed; one that got no answer to over half of at least 20 requests fails as
    well, if that is a larger share. on_ambiguous: what to do when a create may have been accepted and the server cannot
    tell: `fail` asks a person, `resubmit` risks paying a shard twice. max_shard_requests, max_shard_bytes: caps below
    the API's own.
    attempts: how often a request is asked at most; asked again is only what is missing, expired, cancelled, invalid or
    failed in a way that may pass. deadline_hours: how long after its creation a batch is waited for; then it is
    cancelled, and what is finished is kept. on_kill: `cancel` ends the remote batch when a waiting task is marked as
    failed or as success, `leave` lets it run. keep_remote_files: whether the run's files stay at GreenNode once their
    contents are safe; by default as the connection says, which deletes them unless told otherwise.

    explain_errors: whether a model is shown its answer, and what is wrong with it, where that did not fit the answer
    model and is asked again. keep_reasoning: whether what a model thinks goes into the target's column
    `reasoning`, which is NULL otherwise. Staging has it in any case: a join that is cleared can still bring it.

    refresh: `changed` asks only rows that are new to the targets, whose request is another one than the one that was
    answered there, or that have no good answer yet; `all` asks every row again. A row is unchanged if every target has
    its answer; an answer that some targets have and others lack is copied to these, at no cost. Of a row that is
    unchanged the targets stay as they are, carried columns too. retry_final: whether `changed` also asks again what
    ended in a final outcome: refused, cut at `max_tokens`, rejected with 400, 413 or 422, an answer that never fitted
    the answer model, a row that asks nothing or too much. By default the targets remember these until another request
    is made of the row. orphaned_rows: rows of the targets that the job has written and that the source does not have
    (any more): `report` counts them, `remove` deletes those of tables when the requests are built, `ignore` does not
    look for them.

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

    job_id: what the column `greennode_job` says of the rows that the job writes. By default the job's name; where
    several jobs of a DAG share that, the task group's id stands before it (`mails/label`). Jobs may share a table: each
    counts and removes its own rows only. To rename a job, set this to its old name.

    Raises ConfigError for a declaration that cannot work.
    """

    what: ClassVar[str] = "job"
    renamed: ClassVar[Mapping[str, str]] = {"left_rows": "orphaned_rows"}

    name: Annotated[str, "a text of letters, digits, '_', '-' and '.'"]
    source: Annotated[InstanceOf[SqlSource] | InstanceOf[FileSource], "a SqlSource or a FileSource"]
    key: Annotated[_Name | _Names, "the name of the column that identifies a row, or a tuple of several"]
    model: Annotated[_Name | Sequence[_Name], "an id from the server's model list, or a list of several"]
    target: Annotated[_Target | Sequence[_Target], "a SqlTarget, a FileTarget or a tuple of them"]
    prompt: Annotated[str | None, "a text, or the name of a file below include/jobs"] = None
    system: Annotated[str | None, "a text, or the name of a file below include/jobs"] = None
    messages: Annotated[
        Sequence[InstanceOf[Mapping[str, Any]]] | None, "a list of objects, each with role and content"
    ] = None
    carry: Annotated[_Names, 'a tuple of column names, such as ("title",)'] = ()
    answer: Annotated[type[BaseModel] | None, "a Pydantic model (a class), or left out"] = None
    params: Annotated[
        InstanceOf[Mapping[str, Any]], 'an object of fields of a request, such as {"max_tokens": 200}'
    ] = field(default_factory=dict)
    row_params: Annotated[
        Mapping[str, _Name],
        'an object of fields of a request, each with the name of its column, such as {"max_tokens": "token_limit"}',
    ] = field(default_factory=dict)
    conn_id: Annotated[str, "the id of a connection of Airflow"] = "greennode_default"
    canary: Annotated[int, Field(ge=0), "0 (none) or more"] = 1
    max_failed_ratio: Annotated[int | float, Field(ge=0, le=1), "a share, from 0 to 1"] = 0.05
    max_shard_requests: Annotated[int | None, Field(ge=1), "at least 1, or left out"] = None
    max_shard_bytes: Annotated[int | None, Field(ge=1), "at least 1, or left out"] = None
    attempts: Annotated[int, Field(ge=1), "1 (ask once) or more"] = 2
    explain_errors: Annotated[bool, "True or False"] = False
    keep_reasoning: Annotated[bool, "True or False"] = False
    deadline_hours: Annotated[int | float, Field(gt=0), "a number of hours, longer than the API's window"] = (
        DEADLINE_SECONDS / 3600
    )
    on_ambiguous: Annotated[Literal["fail", "resubmit"], "fail or resubmit"] = "fail"
    on_kill: Annotated[Literal["cancel", "leave"], "cancel or leave"] = "cancel"
    keep_remote_files: Annotated[bool | None, "True, False or left out"] = None
    refresh: Annotated[Literal["changed", "all"], "changed or all"] = "changed"
    retry_final: Annotated[bool, "True or False"] = False
    orphaned_rows: Annotated[Literal["report", "remove", "ignore"], "report, remove or ignore"] = "report"
    partitions: Annotated[int, Field(ge=1), "1 (one task reads) or more"] = 1
    budget: Annotated[InstanceOf[Budget] | None, "Budget(max_cost=…), or left out"] = None
    prices: Annotated[InstanceOf[Mapping[str, Any]] | None, '{"MODEL": [prompt, completion]}, or left out'] = None
    samples: Annotated[int, Field(ge=1), "1 (one answer to each request) or more"] = 1
    pool: Annotated[str | None, Field(pattern=r"\S"), "the name of a pool of Airflow, or left out"] = None
    job_id: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z0-9_./-]+$"),
        "letters, digits, '_', '-', '.' and '/', or left out",
    ] = None
    tokenizer: Annotated[_Name | None, "the path of a tokenizer.json, or left out"] = None

    def __post_init__(self) -> None:
        """Refuse what does not go together, while nothing is sent yet."""
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.name):
            raise ConfigError(f"job name {self.name!r}: use letters, digits, '_', '-' and '.' only")
        try:
            self._check()
        except ConfigError as error:
            raise ConfigError(f"job {self.name}: {error}") from None

    def _check(self) -> None:
        if not self.key_columns:
            raise ConfigError(f"{given_by('key')} is empty; name the column(s) that identify a row")
        if not self.models:
            raise ConfigError(f"{given_by('model')} is empty; take an id from the server's model list")
        if len(set(self.models)) < len(self.models):
            raise ConfigError("a model is named twice; each row would have two answers by one key")
        check_question(self.prompt, self.system, self.messages)
        check_answer(self.answer, explain_errors=self.explain_errors)
        check_params(self.params, self.row_params)
        read_prices(self.prices or {})
        sample = (SAMPLE,) if self.samples > 1 else ()
        check_columns((*self.key_columns, *self.carry), self.answer_columns, (*sample, *RESULT_COLUMNS, *OWNER_COLUMNS))
        check_targets(self.targets, {*self.key_columns, *self.carry, *sample, *self.answer_columns, *RESULT_COLUMNS})

    @property
    def own_id(self) -> str:
        """What identifies the job over its runs: `job_id`, or its name."""
        return self.job_id or self.name

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
    def cached_table(self) -> SqlTarget | None:
        """The table of which it is noted what it has answered: the only target, where not every row is asked again."""
        (first, *others) = self.targets
        return first if isinstance(first, SqlTarget) and not others and self.refresh == "changed" else None

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
    def model_samples(self) -> tuple[tuple[str, int], ...]:
        """What is asked about each row: the models, each for its samples, counted from 1."""
        return tuple(itertools.product(self.models, range(1, self.samples + 1)))
