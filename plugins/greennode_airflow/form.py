"""The trigger form: what a person may choose for one run of a job, checked before the run exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from airflow.sdk import DAG, Context, Param
from airflow.sdk.definitions.param import ParamsDict

from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob

_REFRESH_WORDS = {"changed": "new and changed rows", "all": "all rows"}


class Choices(msgspec.Struct, frozen=True):
    """What was chosen for a run. None: as the job says."""

    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    models: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    refresh: Literal["changed", "all"] | None = None
    retry_final: bool | None = None
    dry_run: bool = False


_MODELS_OF = ".models"


def is_form_field(name: str) -> bool:
    """Whether a param is of the form, and not one of the DAG's own."""
    return name in Choices.__struct_fields__ or name.endswith(_MODELS_OF)


def choices_of(context: Context, job: BatchJob | None = None) -> Choices:
    """What was chosen for the run of a task. Raises ConfigError for what the form would not have taken.

    job: whose models are meant, in a DAG of several jobs: its own field wins over the one for all.
    """
    params = context["params"]
    chosen = {name: params[name] for name in Choices.__struct_fields__ if name in params}
    if job is not None and f"{job.name}{_MODELS_OF}" in params:
        chosen["models"] = params[f"{job.name}{_MODELS_OF}"]
    try:
        return msgspec.convert(chosen, Choices)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"the run's parameters {chosen} are not as the trigger form has them: {error}. Nothing was sent"
        ) from None


def form_params(job: BatchJob | Sequence[BatchJob], own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The fields of a job's form, and those of the DAG's own beside them.

    Of use for a DAG of your own as well: `DAG(…, params=form_params(JOB))` around `batch_table_group(JOB)`. Where it
    has groups of several jobs, give all: each has a field `<job's name>.models` then, and heeds no other's. Raises
    ConfigError for a name that is there twice.
    """
    jobs = [job] if isinstance(job, BatchJob) else list(job)
    # A ParamsDict gives its Params by items() alone.
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
            description="Read the first so many rows of the source and leave the rest alone; empty: all of them.",
        ),
        **({f"{one.name}{_MODELS_OF}": _models(one, f" of {one.name}") for one in jobs} if len(jobs) > 1 else {}),
        **({"models": _models(jobs[0])} if len(jobs) == 1 else {}),
        **_refresh(jobs),
        **_retry_final(jobs),
        "dry_run": Param(
            default=False,
            type="boolean",
            title="Dry run",
            description="Build the requests and show the first and an estimate in the log of build_requests; send "
            "nothing.",
        ),
    }


def own_values(dag: DAG | None) -> dict[str, Any]:
    """The defaults of a DAG's own params. To be taken while it is parsed: a run writes its values over them."""
    params = dag.params if dag is not None else ParamsDict()
    return {name: params.get_param(name).value for name in params if not is_form_field(name)}


def _models(job: BatchJob, of: str = "") -> Param:
    if isinstance(job.model, str):
        return Param(
            default=[job.model],
            type="array",
            items={"type": "string", "pattern": r"^\S+$"},
            minItems=1,
            maxItems=1,
            title=f"Model{of}",
            description="The model to ask in this run: one id of the server's list.",
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
        description="Which of the job's models to ask in this run.",
    )


def _refresh(jobs: Sequence[BatchJob]) -> dict[str, Param]:
    means = "Ask the rows that a target has no good answer to yet, or every row, answered or not"
    fields: dict[str, Any] = {"values_display": _REFRESH_WORDS, "title": "Ask again"}
    if len(jobs) > 1:
        choices = [None, *_REFRESH_WORDS]
        text = f"{means}; empty: as each job says."
        return {"refresh": Param(None, type=["null", "string"], enum=choices, description=text, **fields)}
    return {
        "refresh": Param(jobs[0].refresh, type="string", enum=list(_REFRESH_WORDS), description=f"{means}.", **fields)
    }


def _retry_final(jobs: Sequence[BatchJob]) -> dict[str, Param]:
    means = (
        "Among new and changed rows, ask also those that were refused, cut off, rejected or never fitted, though their "
        "request is the same"
    )
    title = "Ask final outcomes again"
    if len(jobs) > 1:
        text = f"{means}; empty: as each job says."
        return {"retry_final": Param(None, type=["null", "boolean"], title=title, description=text)}
    return {"retry_final": Param(jobs[0].retry_final, type="boolean", title=title, description=f"{means}.")}
