"""Assets: a job's targets as Airflow assets, so that other DAGs can run when there are new rows.

A DAG file reads no connection, so it declares an alias of each target. The task that reports finds out where the target
is, and its event is the event of the asset with that address, such as postgres://host:5432/database/schema/table.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Asset, AssetAlias, Context
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType

from greennode_batch.job.sources import Source, SqlSource
from greennode_batch.job.targets import SqlTarget, Target
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.actual_cost import TOKEN_COLUMNS
from greennode_batch.state.run_report import RunReport

log = logging.getLogger(__name__)

_TOLD = ("run_id", "rows", "unchanged", "remembered", "statuses", *TOKEN_COLUMNS, "cost", "saving", "currency")


def asset_of(target: Target) -> AssetAlias:
    """What a DAG is scheduled on to run after each run of a job: `schedule=[asset_of(JOB.target)]`.

    It is an alias for the asset with the target's address. It is named by a table's connection and name, or by a
    dataset's path, which is not rendered.
    """
    return AssetAlias(_name(target))


def assets_of(source: Source) -> list[AssetAlias]:
    """The aliases of what a source reads: the tables that it names, or its path. A job's target has the same one."""
    if isinstance(source, SqlSource):
        return [AssetAlias(f"{source.conn_id}.{table}") for table in source.tables]
    return [AssetAlias(source.path)]


def outlets_of(targets: Sequence[Target]) -> list[Asset | AssetAlias]:
    """The outlets of the task that reports a job: for each target its alias, and the asset of the release before."""
    return [outlet for target in targets for outlet in (asset_of(target), _earlier(target))]


def event_extra(made: RunReport, run: RunFolder, context: Context) -> Mapping[str, Any]:
    """The extra data of the event of a good run: counts and money, the path of its report, its partition if any."""
    key = context.get("partition_key")
    partition = {} if key is None else {"partition_key": key}
    return {**{name: getattr(made, name) for name in _TOLD}, **partition, "report": str(run.report)}


def add_events(
    context: Context,
    outlets: Sequence[Any],
    declared: Sequence[Target],
    rendered: Sequence[Target],
    extra: Mapping[str, Any],
) -> None:
    """Give the task's outlets their events, when it ends well. declared, rendered: the job's targets, side by side."""
    aliases = {asset_of(target).name: address for target, address in zip(declared, rendered, strict=True)}
    for outlet in outlets:
        event = context["outlet_events"][outlet]
        if not isinstance(outlet, AssetAlias):
            event.extra.update(extra)
        elif outlet.name in aliases and (uri := _uri(aliases[outlet.name])) is not None:
            _add(event, uri, extra)


def _add(event: Any, uri: str, extra: Mapping[str, Any]) -> None:
    """Add the event of the asset that has this address, by whatever name a DAG has declared it."""
    try:
        event.add(Asset.ref(uri=uri), dict(extra))
    except AirflowRuntimeError as error:
        if error.error.error is not ErrorType.ASSET_NOT_FOUND:
            raise
        # No DAG has declared one: Airflow registers it with the event.
        event.add(Asset(uri=uri), dict(extra))


def _uri(target: Target) -> str | None:
    """The address of a target as Airflow normalises it; None if there is none. The run is good either way."""
    from greennode_airflow.runtime.addresses import target_address  # noqa: PLC0415 - it loads database drivers

    try:
        address = target_address(target)
        return None if address is None else Asset(uri=address.uri).uri
    except Exception:
        log.warning("%s has no asset event by its address: DAGs that wait for it do not run", target, exc_info=True)
        return None


def _earlier(target: Target) -> Asset:
    """The asset by which the release before named a target, for DAGs that are scheduled on it."""
    name = _name(target)
    return Asset(
        name=name, uri=f"greennode://{target.conn_id}/{target.table}" if isinstance(target, SqlTarget) else name
    )


def _name(target: Target) -> str:
    return f"{target.conn_id}.{target.table}" if isinstance(target, SqlTarget) else target.path
