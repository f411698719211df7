"""BatchJob: the declaration of a job, made of a source, a key, a prompt, a model and a target."""

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
from greennode_batch.job.live_mode import Live
from greennode_batch.job.prices import read_prices
from greennode_batch.job.sources import FileSource, SqlSource
from greennode_batch.job.targets import FileTarget, SqlTarget, Target, check_targets
from greennode_batch.wording import given_by

_Name = Annotated[str, Field(min_length=1)]
# Accepts a list as well.
_Names = Annotated[tuple[_Name, ...], Field(strict=False)]
_Target = InstanceOf[SqlTarget] | InstanceOf[FileTarget]


@dataclass(frozen=True, kw_only=True)
class BatchJob(Declaration):
    """A batch inference job: it asks a model about each row of a source and writes one answer per row to a target.

    With several models or samples, the target has one row per source row, model and sample.

    Raises ConfigError for a declaration that cannot work.
    """

    what: ClassVar[str] = "job"
    renamed: ClassVar[Mapping[str, str]] = {"left_rows": "orphaned_rows"}

    name: Annotated[str, "a text of letters, digits, '_', '-' and '.'"]
    """Identifies the job; also the id of its DAG."""

    source: Annotated[InstanceOf[SqlSource] | InstanceOf[FileSource], "a SqlSource or a FileSource"]
    """Where rows come from."""

    key: Annotated[_Name | _Names, "the name of the column that identifies a row, or a tuple of several"]
    """The columns that identify a row. A key must not be NULL and must not occur twice."""

    model: Annotated[_Name | Sequence[_Name], "an id from the server's model list, or a list of several"]
    """A model id from the server's model list, or a list of several.

    If `model` is a list, even a list of one, `model` becomes part of the target's primary key. A run may ask only some
    of the models: rows of the other models stay in the table, including those whose source row is gone.
    """

    target: Annotated[_Target | Sequence[_Target], "a SqlTarget, a FileTarget or a tuple of them"]
    """Where answers go. If this is a tuple of targets, each of them gets every row."""

    prompt: Annotated[str | None, "a text, or the name of a file below include/jobs"] = None
    """A Jinja template over the row's columns, or the name of a file below `include/jobs`."""

    system: Annotated[str | None, "a text, or the name of a file below include/jobs"] = None
    """The system message: a Jinja template or a file, like `prompt`."""

    messages: Annotated[
        Sequence[InstanceOf[Mapping[str, Any]]] | None, "a list of objects, each with role and content"
    ] = None
    """Chat messages, in place of `prompt` and `system`.

    Any string in them may hold Jinja: a content (a text, or a list of parts), an image URL, a name.
    """

    carry: Annotated[_Names, 'a tuple of column names, such as ("title",)'] = ()
    """More source columns to copy to the target."""

    answer: Annotated[type[BaseModel] | None, "a Pydantic model (a class), or left out"] = None
    """A Pydantic model whose fields become columns of the target. Without it, the target has one text column, `answer`.
    """

    params: Annotated[
        InstanceOf[Mapping[str, Any]], 'an object of fields of a request, such as {"max_tokens": 200}'
    ] = field(default_factory=dict)
    """Further fields of each request body, such as `max_tokens` or `tools`."""

    row_params: Annotated[
        Mapping[str, _Name],
        'an object of fields of a request, each with the name of its column, such as {"max_tokens": "token_limit"}',
    ] = field(default_factory=dict)
    """Request fields that take their value from a column: `{"max_tokens": "token_limit"}`.

    Where the column is NULL, the value in `params` applies; without one, the field is left out.
    """

    conn_id: Annotated[str, "the id of a connection of Airflow"] = "greennode_default"
    """The GreenNode connection."""

    canary: Annotated[int, Field(ge=0), "0 (none) or more"] = 1
    """How many requests of each model to try live, at the full price, before the table is sent. 0 skips the trial."""

    min_read_ratio: Annotated[int | float, Field(ge=0, le=1), "a share, from 0 to 1"] = 0.05
    """The share of a completed batch's requests that lines of its result files must settle, from 0 to 1.

    In the first batch that a profile reads, of 50 requests and more, lines must settle half. If fewer lines can be
    read, the run stops, nothing is sent again, and the files stay until a corrected profile reads them. 0 takes any
    results as they are.
    """

    systematic_failure_ratio: Annotated[int | float | None, Field(gt=0, le=1), "a share up to 1, or None"] = 0.95
    """If this share of at least 20 requests of a model ends unusable for one reason, the run sends nothing more for it.

    Such reasons are: empty answers, answers that do not fit the answer model, refusals, the same 4xx. None sends on.
    """

    max_failed_ratio: Annotated[int | float, Field(ge=0, le=1), "a share, from 0 to 1"] = 0.05
    """The share of rows that may end without an answer before the run fails, from 0 to 1.

    A run also fails if over half of at least 20 requests get no answer, unless this ratio allows that many.
    """

    max_shard_requests: Annotated[int | None, Field(ge=1), "at least 1, or left out"] = None
    """The most requests in one shard, below the API's own limit."""

    max_shard_bytes: Annotated[int | None, Field(ge=1), "at least 1, or left out"] = None
    """The most bytes in one shard, below the API's own limit."""

    attempts: Annotated[int, Field(ge=1), "1 (ask once) or more"] = 2
    """How many times a request is sent at most.

    Only requests whose outcome is retryable are sent again: missing, expired, cancelled or invalid ones, and errors
    that may pass.
    """

    explain_errors: Annotated[bool, "True or False"] = False
    """Whether a retry shows the model its earlier answer and what was wrong with it.

    Applies to answers that did not fit the answer model.
    """

    keep_reasoning: Annotated[bool, "True or False"] = False
    """Whether the model's reasoning goes into the target's column `reasoning`, which is NULL otherwise.

    Staging keeps the reasoning either way: set this and clear the join to write it later.
    """

    deadline_hours: Annotated[int | float, Field(gt=0), "a number of hours, longer than the API's window"] = (
        DEADLINE_SECONDS / 3600
    )
    """How many hours to wait for a batch after its creation. Then it is cancelled, and its finished answers are kept.
    """

    on_ambiguous: Annotated[Literal["fail", "resubmit"], "fail or resubmit"] = "fail"
    """What to do if a create may have been accepted and the server cannot say: `fail` asks a person, `resubmit` risks
    paying for a shard twice.
    """

    on_kill: Annotated[Literal["cancel", "leave"], "cancel or leave"] = "cancel"
    """What becomes of the remote batch if a waiting task is marked failed or success: `cancel` ends it, `leave` lets it
    run.
    """

    keep_remote_files: Annotated[bool | None, "True, False or left out"] = None
    """Whether the run's files stay at GreenNode after their contents are safe in staging.

    By default the connection decides; it deletes them unless it says otherwise.
    """

    refresh: Annotated[Literal["changed", "all"], "changed or all"] = "changed"
    """Which rows to ask: `changed` asks only what is new or changed, `all` asks every row again.

    `changed` asks a row if it is new to a target, if its request differs from the one that was answered, or if it has
    no good answer yet. A row is unchanged if every target has its answer. An answer that only some targets have is
    copied to the others, at no cost. Unchanged rows stay as they are in the targets, including their carried columns.
    """

    retry_final: Annotated[bool, "True or False"] = False
    """Whether `changed` also asks rows again whose outcome is final.

    Final outcomes: refused, truncated at `max_tokens`, rejected with 400, 413 or 422, an answer that did not fit the
    answer model in any attempt, and a row whose request is empty or too long. By default the targets remember a final
    outcome until the row's request changes.
    """

    orphaned_rows: Annotated[Literal["report", "remove", "ignore"], "report, remove or ignore"] = "report"
    """What to do with target rows that this job wrote and the source no longer has.

    `report` counts them, `remove` deletes them from tables when the requests are built, `ignore` does not look for
    them.
    """

    partitions: Annotated[int, Field(ge=1), "1 (one task reads) or more"] = 1
    """How many Airflow tasks read the source and render its requests. Raise it where one task is too slow.

    A query on PostgreSQL (14 or later) is split by a hash of the key. Any other query needs its own condition:
    `WHERE mod(id, {{ partitions }}) = {{ partition }}`, where `partition` counts from 0. For a folder, each task reads
    some of the files; for a single Parquet file, some of its row groups. The parts are not read at the same moment. The
    command line ignores this and reads in one process.
    """

    budget: Annotated[InstanceOf[Budget] | None, "Budget(max_cost=…), or left out"] = None
    """Limits on the cost and the rows of a run, and the cost above which a person must approve it."""

    prices: Annotated[InstanceOf[Mapping[str, Any]] | None, '{"MODEL": [prompt, completion]}, or left out'] = None
    """Real-time list prices per million tokens: `{"MODEL": [prompt, completion], "currency": "VND"}`.

    An entry here wins over the same entry of the connection.
    """

    live: Annotated[InstanceOf[Live] | None, "Live(under=…), or left out"] = None
    """Which requests are answered live, one by one and at the full price, instead of in a batch."""

    samples: Annotated[int, Field(ge=1), "1 (one answer to each request) or more"] = 1
    """How many answers to get for each request. Each one is paid for.

    If this is over 1, the target has a column `sample` (1, 2, …) after the carried columns, which is part of its
    primary key. If you raise it later, existing answers stay and only the additional ones are asked for.
    """

    pool: Annotated[str | None, Field(pattern=r"\S"), "the name of a pool of Airflow, or left out"] = None
    """The Airflow pool in which the job's batches are sent and waited for. The command line ignores it.

    The pool must count deferred tasks; set-up makes one that does, `greennode`. If the pool does not exist, Airflow
    reports no error and the tasks stay scheduled for ever.
    """

    job_id: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z0-9_./-]+$"),
        "letters, digits, '_', '-', '.' and '/', or left out",
    ] = None
    """The value of the column `greennode_job` in the rows that this job writes.

    The default is the job's name. If several jobs of a DAG share a name, the task group's id comes first
    (`mails/label`). Jobs may share a table: each one counts and removes only its own rows. To rename a job, set this to
    its old name.
    """

    tokenizer: Annotated[_Name | None, "the path of a tokenizer.json, or left out"] = None
    """A Hugging Face `tokenizer.json` with which the estimate counts prompt tokens: a file below `include/jobs`, or an
    absolute path.

    Without it, the estimate goes by the length of the texts. Needs the extra `greennode-airflow[tokenizer]`. Tokens of
    a chat template are not counted.
    """

    def __post_init__(self) -> None:
        """Raise ConfigError for fields that contradict each other, before anything is sent."""
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
            raise ConfigError(
                "model lists an id twice, which would give a row two answers under one key; list each id once"
            )
        check_question(self.prompt, self.system, self.messages)
        check_answer(self.answer, explain_errors=self.explain_errors)
        check_params(self.params, self.row_params)
        read_prices(self.prices or {})
        if self.live is not None and self.live.finish_by is not None and self.attempts == 1 and not self.live.only:
            raise ConfigError("live: finish_by needs a second attempt for what no batch has answered; attempts is 1")
        sample = (SAMPLE,) if self.samples > 1 else ()
        check_columns((*self.key_columns, *self.carry), self.answer_columns, (*sample, *RESULT_COLUMNS, *OWNER_COLUMNS))
        check_targets(self.targets, {*self.key_columns, *self.carry, *sample, *self.answer_columns, *RESULT_COLUMNS})

    @property
    def own_id(self) -> str:
        """The id of the job across its runs: `job_id`, or its name."""
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
        """The table whose answered rows a run caches: the only target, if the job refreshes changed rows only."""
        (first, *others) = self.targets
        return first if isinstance(first, SqlTarget) and not others and self.refresh == "changed" else None

    @property
    def answer_columns(self) -> tuple[str, ...]:
        """The names of the answer model's fields; without a model, `answer`."""
        return tuple(self.answer.model_fields) if self.answer else ("answer",)

    @property
    def deadline_seconds(self) -> float:
        """How many seconds to wait for a batch after its creation."""
        return self.deadline_hours * 3600

    @property
    def target_key(self) -> tuple[str, ...]:
        """The target's primary key: the key, `model` if it is a list, `sample` if there are several."""
        model = () if isinstance(self.model, str) else ("model",)
        sample = (SAMPLE,) if self.samples > 1 else ()
        return (*self.key_columns, *model, *sample)

    @property
    def model_samples(self) -> tuple[tuple[str, int], ...]:
        """The requests of one row, as pairs of model and sample. Samples count from 1."""
        return tuple(itertools.product(self.models, range(1, self.samples + 1)))
