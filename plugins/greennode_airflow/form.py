"""The trigger form: what a person may choose for one run of a job, checked before the run exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from airflow.sdk import DAG, Context, Param
from airflow.sdk.definitions.param import ParamsDict

from greennode_batch.errors import ConfigError
from greennode_batch.job import BatchJob, SqlTarget

_REFRESH_WORDS = {"changed": "new and changed rows", "all": "all rows"}


class Choices(msgspec.Struct, frozen=True):
    """What was chosen for a run. None: as the job says."""

    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    models: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    refresh: Literal["changed", "all"] | None = None
    dry_run: bool = False


def choices_of(context: Context) -> Choices:
    """What was chosen for the run of a task. Raises ConfigError for what the form would not have taken."""
    chosen = {name: context["params"][name] for name in Choices.__struct_fields__ if name in context["params"]}
    try:
        return msgspec.convert(chosen, Choices)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"the run's parameters {chosen} are not as the trigger form has them: {error}. Nothing was sent"
        ) from None


def form_params(job: BatchJob, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The fields of a job's form, and those of the DAG's own beside them.

    Of use for a DAG of your own as well: `DAG(…, params=form_params(JOB))` around `batch_table_group(JOB)`. Raises
    ConfigError for a name that is there twice.
    """
    # A ParamsDict gives its Params by items() alone.
    own_fields = dict((own or {}).items())
    taken = [name for name in Choices.__struct_fields__ if name in own_fields]
    if taken:
        raise ConfigError(
            f"job {job.name}: params may not have {', '.join(taken)}: the trigger form has a field of that name; take "
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
        "models": _models(job),
        **({"refresh": _refresh(job)} if any(isinstance(target, SqlTarget) for target in job.targets) else {}),
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
    return {name: params.get_param(name).value for name in params if name not in Choices.__struct_fields__}


def _models(job: BatchJob) -> Param:
    if isinstance(job.model, str):
        return Param(
            default=[job.model],
            type="array",
            items={"type": "string", "pattern": r"^\S+$"},
            minItems=1,
            maxItems=1,
            title="Model",
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
        title="Models",
        description="Which of the job's models to ask in this run.",
    )


def _refresh(job: BatchJob) -> Param:
    return Param(
        default="changed" if job.known_table is not None else "all",
        type="string",
        enum=list(_REFRESH_WORDS),
        values_display=_REFRESH_WORDS,
        title="Ask again",
        description="Ask the rows that the table has no good answer to yet, or every row, answered or not.",
    )
