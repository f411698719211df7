"""Where a job's answers go, as a user declares it: a table, a dataset, or several of them."""

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
    """A table that is written by upsert, made if it is missing.

    A table that is there keeps its columns and types; before anything is paid it is checked that they can take what the
    job writes.

    conn_id: a connection to PostgreSQL (written by COPY), SQLite, or any database whose connection in Airflow has an
    SQLAlchemy dialect. table: its name, or `schema.table`. add_columns: columns that it lacks are added (NULL in older
    rows); without it they are an error that has the statements to add them. runs_table: a table in the same database
    that gets a row for each run and model, with its rows by status, its tokens and what they cost (see
    write/runs_table.py); it is made if it is missing.
    """

    what: ClassVar[str] = "SqlTarget"

    conn_id: Annotated[str, "the id of a connection of Airflow"]
    table: Annotated[str, "the name of a table, or schema.table"]
    add_columns: Annotated[bool, "True or False"] = False
    runs_table: Annotated[
        str | None, Field(pattern=r"\S"), "the name of a table, such as greennode_runs, or left out"
    ] = None

    @property
    def target_id(self) -> str:
        """What tells it from other targets of the job."""
        return f"{self.conn_id}/{self.table}"

    def runs(self) -> SqlTarget | None:
        """The table of runs as a target, if there is to be one."""
        if self.runs_table is None:
            return None
        return SqlTarget(conn_id=self.conn_id, table=self.runs_table, add_columns=True)


@dataclass(frozen=True, kw_only=True)
class FileTarget(Declaration):
    """A dataset of Parquet files in a folder, one file a shard.

    Athena, DuckDB, Spark, pandas and pyarrow read the folder as one table. Each run adds files, and replaces them when
    it is joined again. Rows of earlier runs that it answers anew are removed from their files.

    path: of the folder, local or `s3://conn_id@bucket/folder`. Airflow renders it, so `.../{{ run_id }}` gives each run
    a folder, in which no row is answered yet. On the command line a path that ends in `.parquet` is one file, written
    when every row has its status; rows of earlier runs stay in it.
    partition_by: columns of the target that become folders (`day=2026-01-31`) in place of columns of the files.
    """

    what: ClassVar[str] = "FileTarget"

    path: Annotated[str, "the path of a folder"]
    partition_by: Annotated[tuple[str, ...], Field(strict=False), 'a tuple of column names, such as ("day",)'] = ()


Target = SqlTarget | FileTarget


def check_targets(targets: Sequence[Target], columns: Collection[str]) -> None:
    """Raise ConfigError for targets that cannot take these columns."""
    if not targets:
        raise ConfigError("target is empty; it is a SqlTarget, a FileTarget or a tuple of them")
    for index, target in enumerate(targets):
        if target in targets[:index]:
            raise ConfigError(f"a target is named twice: {target}")
        if isinstance(target, SqlTarget) and target.runs_table == target.table:
            raise ConfigError(f"the answers and the runs cannot lie in one table, {target.table}")
        if isinstance(target, FileTarget):
            _check_partitions(f"{given_by('partition_by')} of {target.path}", target.partition_by, columns)


def _check_partitions(where: str, partition_by: Sequence[str], columns: Collection[str]) -> None:
    for index, column in enumerate(partition_by):
        if column not in columns:
            raise ConfigError(f"{where}: the target has no column {column!r}; carry it, or take another")
        if column in partition_by[:index]:
            raise ConfigError(f"{where} names {column!r} twice")
        if column.startswith((".", "_")):
            raise ConfigError(f"{where}: Spark and Athena take the folder {column}=… for hidden; rename it (AS …)")
