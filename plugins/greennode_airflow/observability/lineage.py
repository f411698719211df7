"""Lineage: what OpenLineage gets about a job's datasets, by Airflow's provider for it, where that is installed.

    source -> build_requests (or read_part) -> staging -> join_results -> targets -> report

Staging is the folder of all runs of a DAG. Tables have the names that the provider gives them; those of a connection
whose hook has no such names, SQLite's for one, are left out.
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
from airflow.sdk import ObjectStoragePath
from openlineage.client.facet_v2 import input_statistics_input_dataset as input_statistics
from upath import UPath

from greennode_airflow.runtime.databases import hook_of
from greennode_batch.job.sources import Source, SqlSource
from greennode_batch.job.targets import SqlTarget, Target

# As psycopg has them, which the provider's parser takes for an error.
_PARAMETER = re.compile(r"%\(\w+\)s")
_TABLE_PARTS = 2  # schema.table

_Name = tuple[str, str]


def of_read(source: Source, rows: int, staging: UPath) -> OperatorLineage[Any, Any]:
    """Of a task that has read rows of a source into staging.

    A query's tables are those that the source names, or else those that the provider's parser finds in it. Of several
    it is not known how many rows were read of each.
    """
    if isinstance(source, SqlSource):
        names, job_facets = _read_by(source)
    else:
        names, job_facets = [_path(ObjectStoragePath(source.path))], {}
    return OperatorLineage(
        inputs=[_input(name, rows if len(names) == 1 else None) for name in names],
        outputs=[OutputDataset(*_path(staging))],
        job_facets=job_facets,
    )


def of_write(targets: Sequence[Target], rows: int, schema: pa.Schema, staging: UPath) -> OperatorLineage[Any, Any]:
    """Of a task that has written rows of this schema into each target."""
    fields = [SchemaDatasetFacetFields(name=field.name, type=str(field.type)) for field in schema]
    return OperatorLineage(
        inputs=[InputDataset(*_path(staging))],
        outputs=[
            OutputDataset(
                *name,
                facets={"schema": SchemaDatasetFacet(fields=fields)},
                outputFacets={"outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=rows)},
            )
            for name in _names(targets)
        ],
    )


def of_report(targets: Sequence[Target], rows: int) -> OperatorLineage[Any, Any]:
    """Of a task that has found so many rows of a run in each target."""
    return OperatorLineage(inputs=[_input(name, rows) for name in _names(targets)])


def _read_by(source: SqlSource) -> tuple[list[_Name], dict[str, Any]]:
    """The tables that a query reads, and what is sent about the query itself."""
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
            yield _path(ObjectStoragePath(target.path))


def _tables(conn_id: str, tables: Sequence[str]) -> Iterable[_Name]:
    """None where the connection's hook does not say how its tables are named."""
    hook = hook_of(conn_id)
    info = hook.get_openlineage_database_info(hook.get_connection(conn_id))
    if info is None:
        return
    schema = _default_schema(hook, info)
    for table in tables:
        parts = table.split(".")
        of_default = [schema] if schema and len(parts) < _TABLE_PARTS else []
        yield SQLParser.create_namespace(info), ".".join([*filter(None, [info.database]), *of_default, *parts])


def _default_schema(hook: Any, info: DatabaseInfo) -> str | None:
    if info.scheme != "postgres":
        schema: str | None = hook.get_openlineage_default_schema()
        return schema
    # The hook's own way to ask would be reported as one more query of the task.
    with closing(hook.get_conn()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        return str(cursor.fetchone()[0])


def _path(path: UPath | ObjectStoragePath) -> _Name:
    """By OpenLineage's rules for files and object stores; of an Airflow path, without its connection."""
    if path.protocol in {"", "file", "local"}:
        return "file", path.path
    bucket, _, key = path.path.partition("/")
    return f"{path.protocol}://{bucket}", key


def _input(name: _Name, rows: int | None) -> InputDataset:
    facet = input_statistics.InputStatisticsInputDatasetFacet(rowCount=rows)
    return InputDataset(*name, inputFacets={"inputStatistics": facet} if rows is not None else {})
