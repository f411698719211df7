"""Lineage: a job's datasets for OpenLineage, through Airflow's provider for it, if that is installed.

    source -> build_requests (or read_part) -> staging -> join_results -> targets -> report

Staging is the folder of all runs of a DAG. Tables have the names that the provider gives them; tables of a connection
whose hook gives no such names, such as SQLite's, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa
from airflow.providers.common.compat.openlineage.facet import (
    InputDataset,
    OutputDataset,
    OutputStatisticsOutputDatasetFacet,
    SchemaDatasetFacet,
    SchemaDatasetFacetFields,
)
from airflow.providers.openlineage.extractors import OperatorLineage
from airflow.providers.openlineage.sqlparser import DatabaseInfo, SQLParser
from openlineage.client.facet_v2 import input_statistics_input_dataset as input_statistics
from upath import UPath

from greennode_airflow.runtime.addresses import path_address, table_addresses
from greennode_airflow.runtime.databases import hook_of
from greennode_batch.job.sources import Source, SqlSource
from greennode_batch.job.targets import SqlTarget, Target

# psycopg's form, which the provider's parser takes for an error.
_PARAMETER = re.compile(r"%\(\w+\)s")
_TABLE_PARTS = 2  # schema.table

_Name = tuple[str, str]


def of_job(source: Source, targets: Sequence[Target], rows: int, schema: pa.Schema) -> OperatorLineage[Any, Any]:
    """Of a task that is a whole job, and has written so many rows into each target: staging is its own affair."""
    names, job_facets = _read_by(source)
    return OperatorLineage(
        inputs=[_input(name, None) for name in names], outputs=_written(targets, rows, schema), job_facets=job_facets
    )


def of_read(source: Source, rows: int, staging: UPath) -> OperatorLineage[Any, Any]:
    """For a task that has read rows of a source into staging.

    A query's tables are those that the source names, or else those that the provider's parser finds in it. If there are
    several, the number of rows from each is unknown.
    """
    names, job_facets = _read_by(source)
    return OperatorLineage(
        inputs=[_input(name, rows if len(names) == 1 else None) for name in names],
        outputs=[OutputDataset(*_path(staging))],
        job_facets=job_facets,
    )


def of_write(targets: Sequence[Target], rows: int, schema: pa.Schema, staging: UPath) -> OperatorLineage[Any, Any]:
    """For a task that has written rows of this schema into each target."""
    return OperatorLineage(inputs=[InputDataset(*_path(staging))], outputs=_written(targets, rows, schema))


def of_report(targets: Sequence[Target], rows: int) -> OperatorLineage[Any, Any]:
    """For a task that has found so many rows of a run in each target."""
    return OperatorLineage(inputs=[_input(name, rows) for name in _names(targets)])


def _written(targets: Sequence[Target], rows: int, schema: pa.Schema) -> list[OutputDataset]:
    fields = [SchemaDatasetFacetFields(name=field.name, type=str(field.type)) for field in schema]
    return [
        OutputDataset(
            *name,
            facets={"schema": SchemaDatasetFacet(fields=fields)},
            outputFacets={"outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=rows)},
        )
        for name in _names(targets)
    ]


def _read_by(source: Source) -> tuple[list[_Name], dict[str, Any]]:
    """The path or the tables that a source reads, and what is sent about a query itself."""
    if not isinstance(source, SqlSource):
        return [_path(source.path)], {}
    hook = hook_of(source.conn_id)
    connection = hook.get_connection(source.conn_id)
    info = hook.get_openlineage_database_info(connection)
    if info is None:
        return [], {}
    dialect = hook.get_openlineage_database_dialect(connection)
    parser = SQLParser(dialect=dialect, default_schema=_default_schema(hook, info))
    sql = _PARAMETER.sub("NULL", source.sql).replace("%%", "%") if source.parameters else source.sql
    found = parser.generate_openlineage_metadata_from_sql(sql, hook, info, use_connection=False)
    if source.tables:
        return list(_tables(source.conn_id, source.tables)), found.job_facets
    return [(table.namespace, table.name) for table in found.inputs], found.job_facets


def _names(targets: Sequence[Target]) -> Iterable[_Name]:
    for target in targets:
        if isinstance(target, SqlTarget):
            yield from _tables(target.conn_id, [target.table])
        else:
            yield _path(target.path)


def _tables(conn_id: str, tables: Sequence[str]) -> Iterable[_Name]:
    """None if the connection's hook does not give the names of its tables."""
    hook = hook_of(conn_id)
    info = hook.get_openlineage_database_info(hook.get_connection(conn_id))
    if info is None:
        return
    if info.scheme == "postgres":
        yield from ((one.namespace, one.name) for one in table_addresses(conn_id, tables) if one is not None)
        return
    schema = hook.get_openlineage_default_schema()
    for table in tables:
        parts = table.split(".")
        of_default = [schema] if schema and len(parts) < _TABLE_PARTS else []
        yield SQLParser.create_namespace(info), ".".join([*filter(None, [info.database]), *of_default, *parts])


def _default_schema(hook: Any, info: DatabaseInfo) -> str | None:
    if info.scheme != "postgres":
        schema: str | None = hook.get_openlineage_default_schema()
        return schema
    # The hook's own query method would be reported as one more query of the task.
    with closing(hook.get_conn()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        return str(cursor.fetchone()[0])


def _path(path: str | UPath) -> _Name:
    address = path_address(str(path))
    return address.namespace, address.name


def _input(name: _Name, rows: int | None) -> InputDataset:
    facet = input_statistics.InputStatisticsInputDatasetFacet(rowCount=rows)
    return InputDataset(*name, inputFacets={"inputStatistics": facet} if rows is not None else {})
