"""The trigger form: what a person may choose for one run of a job.

Airflow checks the fields before the run exists, but accepts any other key in a run's conf; `check_conf` refuses these.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from airflow.sdk import DAG, Context, Param
from airflow.sdk.configuration import conf as settings
from airflow.sdk.definitions.param import ParamsDict

from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.live_mode import MOST_TRY_ROWS, TRY_ROWS
from greennode_batch.job.prices import read_prices

_MODE_WORDS = {"batch": "in batches", "live": "live", "try": "try the first rows"}
_REFRESH_WORDS = {"changed": "new and changed rows", "all": "all rows"}


class Choices(msgspec.Struct, frozen=True):
    """The choices for a run. None: as the job says."""

    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    models: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    refresh: Literal["changed", "all"] | None = None
    retry_final: bool | None = None
    mode: Literal["batch", "live", "try"] | None = None
    dry_run: bool = False

    @property
    def is_try(self) -> bool:
        """Whether the first rows are answered live and shown, and nothing is written. A dry run is none."""
        return self.mode == "try" and not self.dry_run


FIELDS = Choices.__struct_fields__
_MODELS_OF = ".models"
# Airflow itself adds this to the conf of a run that a TriggerDagRunOperator has triggered.
_AIRFLOWS_OWN = frozenset({"openlineage"})


def is_form_field(name: str) -> bool:
    """Whether a param belongs to the form or to Airflow, not to the DAG itself."""
    return name in Choices.__struct_fields__ or name.endswith(_MODELS_OF) or name in _AIRFLOWS_OWN


def choices_of(context: Context, job: BatchJob | None = None) -> Choices:
    """The choices for the run of a task. Raises ConfigError for values that the form would not have accepted.

    job: whose models are meant, in a DAG of several jobs: its field overrides the one for all.
    """
    params = context["params"]
    chosen = {name: params[name] for name in Choices.__struct_fields__ if name in params}
    if job is not None and f"{job.name}{_MODELS_OF}" in params:
        chosen["models"] = params[f"{job.name}{_MODELS_OF}"]
    if isinstance(models := chosen.get("models"), str):
        chosen["models"] = [models]
    try:
        read = msgspec.convert(chosen, Choices)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"the run's parameters {chosen} are not as the trigger form has them: {error}. Nothing was sent"
        ) from None
    if read.is_try and (read.limit or 0) > MOST_TRY_ROWS:
        raise ConfigError(
            f"a try asks at most {MOST_TRY_ROWS} rows, and limit is {read.limit:,}; for more answers, trigger the DAG "
            "with another mode, which writes them into the target. Nothing was sent"
        )
    return msgspec.structs.replace(read, limit=read.limit or TRY_ROWS) if read.is_try else read


def form_params(job: BatchJob | Sequence[BatchJob], own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The fields of a job's form, beside the DAG's own.

    You can also use it in your own DAG: `DAG(…, params=form_params(JOB))` around `batch_table_group(JOB)`. If that has
    groups of several jobs, pass all of them: each then has a field `<job's name>.models` and ignores the others'.
    Raises ConfigError if a name occurs twice.
    """
    jobs = [job] if isinstance(job, BatchJob) else list(job)
    # A ParamsDict returns its Params only through items().
    own_fields = dict((own or {}).items())
    taken = [name for name in own_fields if is_form_field(name)]
    if taken:
        names = ", ".join(one.name for one in jobs)
        raise ConfigError(
            f"job {names}: params may not have {', '.join(taken)}: the trigger form has a field of that name; take "
            "another name"
        )
    return {
        **own_fields,
        "limit": Param(
            default=None,
            type=["null", "integer"],
            minimum=1,
            title="Rows at most",
            description="Send at most this many of the rows that would be sent; the rest waits for a later run. Their "
            "answers are written into the target as in any run, and are not sent again. Empty: all rows; in a try, "
            f"{TRY_ROWS}.",
        ),
        **({f"{one.name}{_MODELS_OF}": _models(one, f" of {one.name}") for one in jobs} if len(jobs) > 1 else {}),
        **({"models": _models(jobs[0])} if len(jobs) == 1 else {}),
        **_refresh(jobs),
        **_retry_final(jobs),
        "mode": _mode(jobs),
        "dry_run": Param(
            default=False,
            type="boolean",
            title="Dry run",
            description="Send and write nothing: the log of build_requests shows the counts, an estimate and the first "
            "requests, or, if no row would be sent, the request of the first row. It costs nothing.",
        ),
    }


def declared_names(dag: DAG | None) -> frozenset[str]:
    """The names of a DAG's params. Call it while the DAG is parsed."""
    return frozenset(dag.params if dag is not None else ())


def check_conf(
    conf: Mapping[str, Any] | None, declared: Collection[str], *, strict: bool, fields: Collection[str] = FIELDS
) -> None:
    """Refuse keys in a run's conf that are not params of the DAG; Airflow accepts them silently.

    declared: the names of the DAG's params. strict: refuse any other key. Not strict, for a DAG whose conf carries
    other tasks' keys as well: refuse only a misspelt form field; the tasks use form fields in any case. Raises
    ConfigError with the nearest name.
    """
    heeded = set() if strict else {*fields, *filter(is_form_field, declared)} - _AIRFLOWS_OWN
    known = sorted(heeded or declared)
    hints = []
    for key in sorted({*(conf or {})}.difference(declared, heeded, _AIRFLOWS_OWN)):
        near = _nearest(key, known, 0.6) if strict else _misspelt(key, known)
        if strict or near:
            hints.append(f"{key!r} (did you mean {near!r}?)" if near else repr(key))
    if not hints:
        return
    way_out = (
        "to allow any key, set strict_conf=False in batch_table or the operator"
        if strict
        else "a key that another task needs has to be a param of the DAG"
    )
    raise ConfigError(
        f"the run's conf has {', '.join(hints)}, and no param of this DAG has that name. There are {', '.join(known)}. "
        f"Trigger the DAG again with one of these; {way_out}. Nothing was sent, written or removed"
    )


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _nearest(key: str, names: Collection[str], cutoff: float) -> str | None:
    by_plain = {_plain(name): name for name in names}
    return next((by_plain[one] for one in difflib.get_close_matches(_plain(key), by_plain, n=1, cutoff=cutoff)), None)


def _misspelt(key: str, names: Collection[str]) -> str | None:
    """The name that a key misspells by one letter, or by how its words are joined."""
    near = _nearest(key, names, 0.8)
    return near if near and abs(len(_plain(near)) - len(_plain(key))) <= 1 else None


def own_values(dag: DAG | None) -> dict[str, Any]:
    """The defaults of a DAG's own params. Call it while the DAG is parsed: a run writes its values over them."""
    params = dag.params if dag is not None else ParamsDict()
    return {name: params.get_param(name).value for name in params if not is_form_field(name)}


def _models_of_settings() -> list[str]:
    """The models of `[greennode] models`. The server's own list would take a call each time that a DAG is parsed."""
    named = settings.get("greennode", "models", fallback="") or ""
    return [model for one in named.split(",") if (model := one.strip())]


def _models(job: BatchJob, of: str = "") -> Param:
    if isinstance(job.model, str):
        return Param(
            default=job.model,
            # A job of several models accepts a list of one.
            type=["string", "array"],
            pattern=r"^\S+$",
            items={"type": "string", "pattern": r"^\S+$"},
            minItems=1,
            maxItems=1,
            # Airflow's page suggests these, and accepts others.
            examples=list(dict.fromkeys([job.model, *read_prices(job.prices or {}).by_model, *_models_of_settings()])),
            title=f"Model{of}",
            description="The model for this run: choose one, or type any id of the server's list.",
        )
    return Param(
        default=list(job.models),
        type="array",
        items={"type": "string", "enum": list(job.models)},
        # Airflow's page offers these to choose from.
        examples=list(job.models),
        minItems=1,
        uniqueItems=True,
        title=f"Models{of}",
        description="The job's models to use in this run.",
    )


def _refresh(jobs: Sequence[BatchJob]) -> dict[str, Param]:
    means = "Send the rows without a good answer in a target, or every row, answered or not"
    title = "Ask again"
    if len(jobs) > 1:
        # Airflow's page shows this for null.
        words = {"null": "as each job says", **_REFRESH_WORDS}
        choices = [None, *_REFRESH_WORDS]
        text = f"{means}."
        return {
            "refresh": Param(
                None, type=["null", "string"], enum=choices, values_display=words, title=title, description=text
            )
        }
    return {
        "refresh": Param(
            jobs[0].refresh,
            type="string",
            enum=list(_REFRESH_WORDS),
            values_display=_REFRESH_WORDS,
            title=title,
            description=f"{means}.",
        )
    }


def _mode(jobs: Sequence[BatchJob]) -> Param:
    return Param(
        default=None,
        type=["null", "string"],
        enum=[None, *_MODE_WORDS],
        # Airflow's page shows this for null.
        values_display={"null": "as each job says" if len(jobs) > 1 else "as the job says", **_MODE_WORDS},
        title="Mode",
        description="Send the requests in batches, or have each answered live: within seconds, at the full price. Try: "
        f"only the first rows, {TRY_ROWS} or as many as Rows at most says (up to {MOST_TRY_ROWS}), are answered live, "
        "and cost the full price; the answers are shown on a page of the run and in the log, and nothing is written.",
    )


def _retry_final(jobs: Sequence[BatchJob]) -> dict[str, Param]:
    means = (
        "Among new and changed rows, also send those that were refused, truncated, rejected or invalid, even if their "
        "request is the same"
    )
    title = "Ask final outcomes again"
    if len(jobs) > 1:
        text = f"{means}. If you leave it unset, each job decides."
        return {"retry_final": Param(None, type=["null", "boolean"], title=title, description=text)}
    return {"retry_final": Param(jobs[0].retry_final, type="boolean", title=title, description=f"{means}.")}
