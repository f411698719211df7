"""Sources: a job's rows, opened with Airflow's connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from greennode_airflow.runtime.databases import connect
from greennode_airflow.runtime.runs import shared_path
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import Source, SqlSource
from greennode_batch.request.needed_columns import needed_columns
from greennode_batch.source.files import read_files
from greennode_batch.source.partition import WHOLE, Part
from greennode_batch.source.rows import Rows, first_rows
from greennode_batch.source.sql import read_sql
from greennode_batch.source.sql_partition import read_sql_part


@contextmanager
def open_source(
    job: BatchJob, source: Source, part: Part = WHOLE, *, limit: int | None = None
) -> Iterator[Callable[[], Rows]]:
    """A function that opens a job's rows, as often as it is called. source: the job's, as Airflow has rendered it.

    part: which of its rows to read. limit: how many of these at most.
    """
    with _opened(job, source, part) as rows:
        yield lambda: first_rows(rows(), limit)


@contextmanager
def _opened(job: BatchJob, source: Source, part: Part) -> Iterator[Callable[[], Rows]]:
    if isinstance(source, SqlSource):
        connection = connect(source.conn_id)
        if not hasattr(connection, "cursor"):
            raise ConfigError(
                f"connection {source.conn_id}: gives no SQL connection, but a {type(connection).__name__}; "
                "a SqlSource needs one to a database. Nothing was sent"
            )
        with closing(connection):
            if part == WHOLE:
                yield lambda: read_sql(connection, source.sql, source.parameters, key=job.key_columns)
            else:
                yield lambda: read_sql_part(connection, source.sql, job.key_columns, part, source.parameters)
        return
    whole = "(/data/rows.parquet) or an object store's (s3://conn_id@bucket/rows/, gs://…, abfs://…). Nothing was sent"
    path = shared_path(source.path, what="source", kind="file", example=whole)
    columns = needed_columns(job)
    yield lambda: read_files(
        path, file_format=source.format, types=source.types, dialect=source.dialect, columns=columns, part=part
    )
