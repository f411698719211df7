"""The table of runs: one row per run and model, with rows by status, tokens and cost."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa

from greennode_batch.state.actual_cost import TOKEN_COLUMNS, ModelCost
from greennode_batch.state.row_status import RowStatus
from greennode_batch.state.run_report import RunReport
from greennode_batch.tables.table_target import TableTarget

_MOMENT = pa.timestamp("us", tz="UTC")
_STATUSES = tuple(status.value for status in RowStatus)

RUNS_KEY = ("dag_id", "run_id", "model")
"""The primary key. For a pipeline within a larger DAG, dag_id is `<dag_id>+<task group id>`."""

RUNS_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in (*RUNS_KEY, "job", "prompt_hash")),
        *(pa.field(name, _MOMENT) for name in ("started_at", "ended_at")),
        pa.field("requests", pa.int64()),
        *(pa.field(name, pa.int64()) for name in _STATUSES),
        *(pa.field(name, pa.int64()) for name in TOKEN_COLUMNS),
        *(pa.field(name, pa.float64()) for name in ("cost", "saving", "estimated_cost")),
        pa.field("currency", pa.string()),
        pa.field("balanced", pa.bool_()),
    ]
)
"""The columns: one count per status; `ended_at` is the time of the run's report; costs are in `currency`."""


def write_run(table: TableTarget, made: RunReport, *, dag_id: str) -> None:
    """Upsert a run's rows into the table of runs, in a separate transaction. Creates the table if it is missing."""
    if not made.models:
        return
    rows = [_row(made, one, dag_id) for one in made.models]
    table.prepare(RUNS_SCHEMA)
    table.write([pa.Table.from_pylist(rows, schema=RUNS_SCHEMA)])


def _row(made: RunReport, one: ModelCost, dag_id: str) -> dict[str, Any]:
    expected = made.estimate.by_model.get(one.model) if made.estimate else None
    return {
        "dag_id": dag_id,
        **{name: getattr(made, name) for name in ("run_id", "job", "prompt_hash", "currency", "balanced")},
        **{name: getattr(one, name) for name in ("model", "requests", *TOKEN_COLUMNS, "cost", "saving")},
        "started_at": _moment(made.started_at),
        "ended_at": _moment(made.ended_at),
        **{status: one.statuses.get(status, 0) for status in _STATUSES},
        "estimated_cost": expected.cost if expected else None,
    }


def _moment(epoch_seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(epoch_seconds, datetime.UTC)
