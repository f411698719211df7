"""Targets: where a job's answers go, a table, a dataset of files, or several of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from greennode_batch.errors import ConfigError
from greennode_batch.job.declaration import Declaration
from greennode_batch.wording import given_by


@dataclass(frozen=True, kw_only=True)
class SqlTarget(Declaration):
    """A table, written by upsert. It is created if it is missing.

    An existing table keeps its columns and types. A run checks that they fit the job's rows before anything is paid.
    """

    what: ClassVar[str] = "SqlTarget"

    conn_id: Annotated[str, "the id of a connection of Airflow"]
    """A connection to PostgreSQL (written by COPY), SQLite, or any database whose Airflow connection has an SQLAlchemy
    dialect.
    """

    table: Annotated[str, "the name of a table, or schema.table"]
    """The table's name, or `schema.table`.

    Airflow renders it: `labels_{{ partition_key }}` gives each partition its own table.
    """

    add_columns: Annotated[bool, "True or False"] = False
    """Whether to add the columns that the table lacks (NULL in older rows).

    Without it, missing columns are an error, which lists the statements that add them.
    """

    runs_table: Annotated[
        str | None, Field(pattern=r"\S"), "the name of a table, such as greennode_runs, or left out"
    ] = None
    """A table in the same database that gets one row per run and model: rows by status, tokens and cost.

    It is created if it is missing. `write/runs_table.py` lists its columns.
    """

    @property
    def target_id(self) -> str:
        """Identifies the target among the targets of its job."""
        return f"{self.conn_id}/{self.table}"

    def runs(self) -> SqlTarget | None:
        """The table of runs as a target, or None if the job has none."""
        if self.runs_table is None:
            return None
        return SqlTarget(conn_id=self.conn_id, table=self.runs_table, add_columns=True)


@dataclass(frozen=True, kw_only=True)
class FileTarget(Declaration):
    """A dataset of Parquet files in a folder, one file per shard.

    Athena, DuckDB, Spark, pandas and pyarrow read the folder as one table. Each run adds files, and replaces its files
    if it is joined again. Rows of earlier runs that it answers again are removed from their files.
    """

    what: ClassVar[str] = "FileTarget"

    path: Annotated[str, "the path of a folder"]
    """The folder: a local path, or `s3://conn_id@bucket/folder`, `gs://…` or `abfs://…`.

    Airflow renders it: `.../{{ run_id }}` gives each run its own folder, in which no row is answered yet. On the
    command line, a path that ends in `.parquet` is a single file, written once every row has a status; rows of earlier
    runs stay in it.
    """

    partition_by: Annotated[tuple[str, ...], Field(strict=False), 'a tuple of column names, such as ("day",)'] = ()
    """Target columns that become folders (`day=2026-01-31`) instead of columns in the files."""


Target = SqlTarget | FileTarget


def check_targets(targets: Sequence[Target], columns: Collection[str]) -> None:
    """Raise ConfigError for targets that repeat each other or cannot hold these columns."""
    if not targets:
        raise ConfigError("target is empty; give a SqlTarget, a FileTarget or a tuple of them")
    for index, target in enumerate(targets):
        if target in targets[:index]:
            raise ConfigError(f"a target is named twice: {target}; name it once")
        if isinstance(target, SqlTarget) and target.runs_table == target.table:
            raise ConfigError(f"runs_table is the table of the answers, {target.table}; give it another name")
        if isinstance(target, FileTarget):
            _check_partitions(f"{given_by('partition_by')} of {target.path}", target.partition_by, columns)


def _check_partitions(where: str, partition_by: Sequence[str], columns: Collection[str]) -> None:
    for index, column in enumerate(partition_by):
        if column not in columns:
            raise ConfigError(f"{where}: the target has no column {column!r}; add it to carry, or name another column")
        if column in partition_by[:index]:
            raise ConfigError(f"{where} names {column!r} twice; name it once")
        if column.startswith((".", "_")):
            raise ConfigError(
                f"{where}: Spark and Athena take the folder {column}=… for hidden; rename the column (AS …)"
            )
