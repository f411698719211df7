"""The rows of a job's source, without Airflow: SQL connections come from the environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any, cast

import jinja2

from greennode_batch.errors import ConfigError, GreenNodeError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource, SqlSource
from greennode_batch.job.texts import read_job_text
from greennode_batch.request.needed_columns import needed_columns
from greennode_batch.source.files import read_files
from greennode_batch.source.rows import RowBatch, Rows, first_rows
from greennode_batch.source.sql import read_sql
from greennode_batch.source.sql_connection import connect_sql
from greennode_batch.staging.stores import open_path

# Airflow's syntax to name a connection in a path: s3://conn_id@bucket/folder.
_CONNECTION_IN_PATH = re.compile(r"^\w+://([^/@]+)@")
# A job with several parts is read as one.
_WHOLE = {"partition": 0, "partitions": 1}
_ENVIRONMENT = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - SQL is no HTML


@contextmanager
def job_rows(job: BatchJob, *, limit: int | None = None) -> Iterator[Callable[[], Rows]]:
    """A function that opens the job's rows, as often as it is called. limit: the most rows to read.

    Raises ConfigError for a source that only a run of Airflow can read.
    """
    with ExitStack() as stack:
        yield lambda: first_rows(_opened(job, stack), limit)


def _opened(job: BatchJob, stack: ExitStack) -> Rows:
    source = job.source
    if isinstance(source, FileSource):
        return read_files(
            open_path(_path(source)),
            file_format=source.format,
            types=source.types,
            dialect=source.dialect,
            columns=needed_columns(job),
        )
    sql, parameters = _rendered(read_job_text(source.sql), "the query"), _parameters(source)
    connection = stack.enter_context(closing(connect_sql(source.conn_id)))
    with _lost_connection(source.conn_id):
        rows = read_sql(connection, sql, parameters, key=job.key_columns)
    rows = replace(rows, batches=_read(rows.batches, source.conn_id))
    # Close the rows before the connection: rows that were not read hold a cursor.
    stack.enter_context(closing(cast("Generator[RowBatch, None, None]", rows.batches)))
    return rows


def _read(batches: Iterator[RowBatch], conn_id: str) -> Iterator[RowBatch]:
    with _lost_connection(conn_id):
        yield from batches


@contextmanager
def _lost_connection(conn_id: str) -> Iterator[None]:
    """A driver's error as a sentence; an error in the query is a ConfigError already."""
    try:
        yield
    except Exception as error:
        # For any driver: PEP 249 fixes the names of the error classes.
        if {"OperationalError", "InterfaceError"}.isdisjoint(kind.__name__ for kind in type(error).__mro__):
            raise
        raise GreenNodeError(
            f"connection {conn_id}: {' '.join(str(error).split())}. Nothing was sent; start the same command again"
        ) from error


def _parameters(source: SqlSource) -> Mapping[str, Any]:
    return {
        name: _rendered(value, f"the parameter {name}") if isinstance(value, str) else value
        for name, value in source.parameters.items()
    }


def _path(source: FileSource) -> str:
    path = _rendered(source.path, "the path")
    named = _CONNECTION_IN_PATH.match(path)
    if named:
        raise ConfigError(
            f"source {path}: names Airflow's connection {named[1]}; give the path with --in and without it: the key "
            "and address come from the environment. Nothing was sent"
        )
    return path


def _rendered(text: str, what: str) -> str:
    """A template rendered as Airflow does it; only part of the context is available here."""
    try:
        return _ENVIRONMENT.from_string(text).render(_WHOLE)
    except jinja2.UndefinedError as error:
        raise ConfigError(
            f"{what} of the job's source has a value that only a run of Airflow gives ({error}); name files with "
            "the rows in --in. Nothing was sent"
        ) from None
    except jinja2.TemplateError as error:
        raise ConfigError(f"{what} of the job's source is not a Jinja template ({error}). Nothing was sent") from None
