"""enrich: rows in, the same rows with a model's answers out. estimate: what that would send, and about its cost."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args, overload

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel
from upath import UPath

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.cost.budget_check import budget_forecast
from greennode_batch.errors import ConfigError
from greennode_batch.frame.answer_match import OUTCOME_COLUMNS, matched_answers, row_keys
from greennode_batch.frame.frame_kinds import Frame, frame_of, write_rows
from greennode_batch.interactive.api_key import api_key
from greennode_batch.interactive.local_run import question_id_of, run_here, run_id_of
from greennode_batch.interactive.progress import ProgressDisplay, engine_log
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.columns import SAMPLE
from greennode_batch.job.live_mode import Live
from greennode_batch.job.prices import read_prices
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.plan.build import build
from greennode_batch.plan.preview import preview
from greennode_batch.reconcile.report import check_failed_ratio
from greennode_batch.request.needed_columns import needed_columns
from greennode_batch.run import Progress, unseen
from greennode_batch.source.files import read_files
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder
from greennode_batch.staging.modes import make_folder
from greennode_batch.state.job_result import AnswerFiles, RunResult
from greennode_batch.state.plan import Plan
from greennode_batch.wording import counted, given_by, run_again_by
from greennode_batch.write.answer_file import AnswerFile
from greennode_batch.write.file_lookup import file_lookup
from greennode_batch.write.join import joined_schema

URL_VARIABLE = "GREENNODE_BASE_URL"
_NAME = "enrich"
_ANSWERS = "answers.parquet"
_MAX_EXACT_FLOAT = 1 << 53
_ENGINE_LOG = logging.getLogger("greennode_batch")

Messages = Sequence[Mapping[str, Any]]
Mode = Literal["batch", "live"]


class FrameEstimate(msgspec.Struct, frozen=True):
    """What a call of `enrich` would send, and about its cost. Shown, it is the plan and the first requests as text."""

    plan: Plan
    """Rows, requests, `unchanged` rows and the `estimate` of tokens and cost."""
    text: str
    is_live: bool = False
    """Whether the requests are answered live, at the full price."""

    @property
    def requests(self) -> int:
        """How many requests would be sent: none for rows that an earlier call has answered."""
        return self.plan.requests

    @property
    def cost(self) -> float | None:
        """The likely cost; None if a price or the number of tokens is unknown."""
        if self.plan.estimate is None:
            return None
        return self.plan.estimate.live_cost if self.is_live else self.plan.estimate.cost

    def __repr__(self) -> str:
        return self.text


@overload
def enrich(
    data: Any,
    *,
    key: str | Sequence[str],
    model: str | Sequence[str],
    prompt: str | None = ...,
    system: str | None = ...,
    messages: Messages | None = ...,
    answer: type[BaseModel] | None = ...,
    mode: Mode = ...,
    connection: GreenNodeClient | None = ...,
    base_url: str | None = ...,
    profile: str | ApiProfile = ...,
    allow_http_hosts: Collection[str] = ...,
    staging: str | Path | None = ...,
    progress: bool = ...,
    with_result: Literal[False] = ...,
    **options: Any,
) -> Any: ...


@overload
def enrich(
    data: Any, *, key: str | Sequence[str], model: str | Sequence[str], with_result: Literal[True], **options: Any
) -> tuple[Any, RunResult]: ...


def enrich(
    data: Any,
    *,
    key: str | Sequence[str],
    model: str | Sequence[str],
    prompt: str | None = None,
    system: str | None = None,
    messages: Messages | None = None,
    answer: type[BaseModel] | None = None,
    mode: Mode = "batch",
    connection: GreenNodeClient | None = None,
    base_url: str | None = None,
    profile: str | ApiProfile = "greennode",
    allow_http_hosts: Collection[str] = (),
    staging: str | Path | None = None,
    progress: bool = True,
    with_result: bool = False,
    **options: Any,
) -> Any:
    """Ask a model about each row, and return the rows in their order with the answers as more columns.

    data: a pandas or polars DataFrame, a pyarrow Table or a list of dicts; the rows come back as the same kind. Of the
    path of a Parquet file they come as a pandas DataFrame.
    key, model, prompt, system, messages, answer: as in `BatchJob`. A pandas index may be the key, by its name.
    mode: "batch" sends batches, at half the price; "live" gets the answers within seconds, at the full price, also of a
        server without batches. The option live=Live(…) mixes them.
    connection: a client, such as `GreenNodeHook("greennode_default").get_conn()`; it stays open. Without it the key
        comes from the environment variable GREENNODE_API_KEY, and the address from base_url or GREENNODE_BASE_URL.
    staging: the folder of the call's state and answers; by default one in the user's cache folder.
    progress: whether to show how far the call is.
    with_result: return the rows and a RunResult: counts, cost, and where the answers and failures are.
    options: any other field of `BatchJob`, such as params, budget, prices, attempts or refresh.

    The new columns: the answer's, then status, error, prompt_tokens and completion_tokens. Several models or samples
    give each row as often, with the column model or sample. A row without an answer has a status and an error; only
    max_failed_ratio, if you give it, makes that an error of the call.

    Stopped by Ctrl-C or an outage, the same call goes on, and nothing is paid twice. A call with more, or with changed
    rows asks only these. Raises ConfigError, BudgetError and the API's errors as a run does.
    """
    with (
        _connected(connection, base_url, profile, allow_http_hosts) as client,
        _asked(
            data,
            {"key": key, "model": model, "prompt": prompt, "system": system, "messages": messages, "answer": answer},
            {**options, **_live_option(mode, options)},
            client.base_url,
        ) as asked,
    ):
        root = _staging(staging)
        run_id = run_id_of(asked.job, client.base_url)
        out = _answer_file(root, asked, run_id, begin=True)
        with _display(visible=progress) as shown:
            made = run_here(
                asked.job,
                asked.rows,
                client,
                root,
                lambda _: AnswerFile(out),
                run_id=run_id,
                progress=shown,
            )
            _ENGINE_LOG.info("%s", made)
        answers = pq.read_table(out) if out.exists() else asked.no_answers()
        given = asked.with_answers(answers)
        folder = run_folder(root, asked.job.name, made.run_id)
    if "max_failed_ratio" in options:
        check_failed_ratio(made, asked.job.max_failed_ratio)
    elif made.rows > made.succeeded:
        rows = counted(made.rows - made.succeeded, "row has", "rows have")
        warnings.warn(f"{rows} no answer; status and error say why", stacklevel=2)
    if not with_result:
        return given
    return given, RunResult(
        report=made,
        targets=(AnswerFiles(str(out)),),
        key=asked.job.key_columns,
        target_key=asked.job.target_key,
        job_id=asked.job.own_id,
        answer_columns=asked.job.answer_columns,
        folder=str(folder.path),
    )


def estimate(
    data: Any,
    *,
    key: str | Sequence[str],
    model: str | Sequence[str],
    prompt: str | None = None,
    system: str | None = None,
    messages: Messages | None = None,
    answer: type[BaseModel] | None = None,
    mode: Mode = "batch",
    connection: GreenNodeClient | None = None,
    base_url: str | None = None,
    profile: str | ApiProfile = "greennode",
    staging: str | Path | None = None,
    shown: int = 1,
    **options: Any,
) -> FrameEstimate:
    """What `enrich` would send with these arguments, and about its cost. Sends nothing, and needs no key.

    Rows that an earlier call has answered are not counted, if the address is known. shown: how many requests of each
    model to show.
    """
    fields = {"key": key, "model": model, "prompt": prompt, "system": system, "messages": messages, "answer": answer}
    address = connection.base_url if connection else _base_url(base_url, needed=False)
    spoken = connection.profile if connection else _profile(profile)
    options |= _live_option(mode, options)
    with _asked(data, fields, options, address) as asked, tempfile.TemporaryDirectory(prefix="greennode-") as folder:
        job = asked.job
        out = _answer_file(_staging(staging), asked, run_id_of(job, address), begin=False)
        run = run_folder(folder, job.name, _NAME)
        with file_lookup(AnswerFile(out), job.target_key, job_id=job.own_id) as lookup:
            plan = build(
                job,
                asked.rows,
                run,
                run_id=_NAME,
                profile=spoken,
                target_lookups=[lookup],
                prices=read_prices(job.prices or {}),
            )
        said = [preview(run, plan, shown=shown), budget_forecast(plan, job.budget, canary=job.canary)]
    is_live = job.live is not None and job.live.answers_at_once(plan.requests)
    return FrameEstimate(plan, "\n\n".join(filter(None, said)), is_live)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _is_small(path: str, name: str) -> bool:
    """Whether a column of numbers is the same as floats, in which large integers are no longer apart."""
    found = pc.min_max(pq.read_table(path, columns=[name])[name]).as_py().values()
    return all(one is None or abs(one) <= _MAX_EXACT_FLOAT for one in found)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The rows of a call as a file, and the job that asks about them."""

    job: BatchJob
    frame: Frame
    path: UPath

    def rows(self) -> Rows:
        return read_files(self.path, file_format="parquet")

    def has_keys_like(self, answers: Path) -> bool:
        """Whether one file can hold the keys of a file of answers and those of the rows, each as it is."""
        paths = (str(answers), str(self.path))
        held, given = map(pq.read_schema, paths)
        for name in set(self.job.key_columns).intersection(given.names):
            types = [held.field(name).type, given.field(name).type]
            try:
                pa.unify_schemas([pa.schema({name: one}) for one in types], promote_options="permissive")
            except pa.ArrowException:
                return False
            if (
                types[0] != types[1]
                and any(map(_is_number, types))
                and not all(_is_small(path, name) for path in paths)
            ):
                return False
        return True

    def no_answers(self) -> pa.Table:
        """The answers of no rows."""
        source = pa.schema([(name, pa.string()) for name in self.job.target_key if name != "model"])
        return joined_schema(source, AnswerReader(self.job.answer).fields).empty_table()

    def with_answers(self, answers: pa.Table) -> Any:
        """The caller's rows with their answers behind."""
        job = self.job
        more = [(*([model] if "model" in job.target_key else []), *([sample] if SAMPLE in job.target_key else []))
                for model, sample in job.model_samples]  # fmt: skip
        found = matched_answers(row_keys(self.rows().batches, job.key_columns), answers, job.target_key, more)
        fields = {field.name: field for field in AnswerReader(job.answer).fields}
        names = _new_columns(job)
        schema = [fields[name] if name in fields else found.schema.field(name) for name in names]
        return self.frame.extended(found.select(names).cast(pa.schema(schema)), len(more))


@contextmanager
def _asked(data: Any, fields: Mapping[str, Any], options: Mapping[str, Any], address: str) -> Iterator[_Asked]:
    """The rows as a Parquet file for the time of a call. Raises ConfigError for what cannot be asked."""
    fixed = [name for name in ("name", "source", "target", "carry", "conn_id") if name in options]
    if fixed:
        raise ConfigError(f"{', '.join(fixed)}: enrich sets these itself; leave them out. Nothing was sent")
    frame = frame_of(data)
    with tempfile.TemporaryDirectory(prefix="greennode-rows-") as folder:
        path = Path(folder, "rows.parquet")
        plain = {"max_failed_ratio": 1, "orphaned_rows": "ignore", **options, **fields}
        job = BatchJob(name=_NAME, source=FileSource(path=str(path)), target=FileTarget(path=_ANSWERS), **plain)
        taken = [name for name in _new_columns(job) if name in frame.names]
        if taken:
            raise ConfigError(
                f"the rows have the columns {', '.join(taken)}, which the answers have as well; rename or drop them. "
                "Nothing was sent"
            )
        needed = needed_columns(job)
        # Where one is missing, the error names all that there are.
        write_rows(frame.columns(needed if needed <= set(frame.names) else frame.names), path)
        yield _Asked(dataclasses.replace(job, name=f"{_NAME}-{question_id_of(job, address)}"), frame, UPath(path))


def _live_option(mode: Mode, options: Mapping[str, Any]) -> dict[str, Live]:
    """What a mode is as an option of a job. Raises ConfigError for a mode that is none, or beside the option live."""
    if mode not in get_args(Mode):
        raise ConfigError(f'mode is {mode!r}; it is "batch" or "live". Nothing was sent')
    if mode == "batch":
        return {}
    if options.get("live") is not None:
        raise ConfigError('give either the mode "live" or the option live, not both. Nothing was sent')
    return {"live": Live(only=True)}


def _new_columns(job: BatchJob) -> list[str]:
    several = [name for name in ("model", SAMPLE) if name in job.target_key]
    reasoning = ["reasoning"] if job.keep_reasoning else []
    return [*several, *job.answer_columns, *reasoning, *OUTCOME_COLUMNS]


def _answer_file(root: Path, asked: _Asked, run_id: str, *, begin: bool) -> Path:
    """The file of a content's answers. A new one begins with those of the call before that asked the same question.

    Answers to rows whose keys are of another type are no such beginning.
    """
    folder = run_folder(root, asked.job.name, run_id).path
    out = Path(str(folder), _ANSWERS)
    if out.exists():
        return out
    before = sorted(out.parent.parent.glob(f"*/{_ANSWERS}"), key=lambda path: path.stat().st_mtime)
    before = [path for path in before if asked.has_keys_like(path)]
    if not begin or not before:
        return before[-1] if before else out
    make_folder(out.parent)
    copy = out.with_suffix(".part")
    shutil.copyfile(before[-1], copy)
    copy.replace(out)
    return out


@contextmanager
def _connected(
    connection: GreenNodeClient | None,
    base_url: str | None,
    profile: str | ApiProfile,
    allow_http_hosts: Collection[str],
) -> Iterator[GreenNodeClient]:
    if connection is not None:
        yield connection
        return
    address = _base_url(base_url)
    with GreenNodeClient(address, api_key(), profile=_profile(profile), allow_http_hosts=allow_http_hosts) as client:
        yield client


def _base_url(given: str | None, *, needed: bool = True) -> str:
    said = given or os.environ.get(URL_VARIABLE, "")
    if needed and not said:
        argument = given_by("base_url", "base_url=")
        raise ConfigError(
            f"give {argument}, or set the environment variable {URL_VARIABLE}: the address of the API, such as "
            "https://HOST/v1. Nothing was sent"
        )
    return said


def _profile(given: str | ApiProfile) -> ApiProfile:
    return ApiProfile.from_extra({"profile": given}) if isinstance(given, str) else given


def _staging(given: str | Path | None) -> Path:
    if given is not None:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "greennode-batch"


@contextmanager
def _display(*, visible: bool) -> Iterator[Progress]:
    with run_again_by("make the same call again"):
        if not visible:
            yield unseen
            return
        with engine_log(logging.INFO), ProgressDisplay() as display:
            yield display
