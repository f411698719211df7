"""Sources: where a job's rows come from, opened with Airflow's connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from greennode_airflow.databases import connect
from greennode_airflow.runs import shared_path
from greennode_batch.build.file_source import read_files
from greennode_batch.build.needed_columns import needed_columns
from greennode_batch.build.part import WHOLE, Part
from greennode_batch.build.source import Rows, read_sql
from greennode_batch.build.sql_part import read_sql_part
from greennode_batch.errors import ConfigError
from greennode_batch.job import BatchJob, SqlSource


@contextmanager
def open_source(job: BatchJob, rendered: str, part: Part = WHOLE) -> Iterator[Callable[[], Rows]]:
    """What reads a job's rows, as often as it is called. rendered: the query or path as Airflow has rendered it.

    part: which of the rows that it names.
    """
    source = job.source
    if isinstance(source, SqlSource):
        connection = connect(source.conn_id)
        if not hasattr(connection, "cursor"):
            raise ConfigError(
                f"connection {source.conn_id}: gives no SQL connection, but a {type(connection).__name__}; "
                "a SqlSource needs one to a database. Nothing was sent"
            )
        with closing(connection):
            if part == WHOLE:
                yield lambda: read_sql(connection, rendered)
            else:
                yield lambda: read_sql_part(connection, rendered, job.key_columns, part)
        return
    path = shared_path(
        rendered,
        what="source",
        kind="file",
        example="(/data/rows.parquet) or an object store's (s3://conn_id@bucket/rows/). Nothing was sent",
    )
    columns = needed_columns(job)
    yield lambda: read_files(path, file_format=source.format, types=source.types, columns=columns, part=part)
