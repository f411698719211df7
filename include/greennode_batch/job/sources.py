"""Where a job's rows come from, as a user declares it: a query, or files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from greennode_batch.job.declaration import Declaration
from greennode_batch.job.file_types import FileFormat, check_type

_ParameterName = Annotated[str, Field(pattern=r"^[^\W\d]\w*$")]


@dataclass(frozen=True, kw_only=True)
class SqlSource(Declaration):
    """Rows of a query on a database.

    conn_id: any connection of Airflow's whose hook gives a DB-API connection. PostgreSQL keeps the rows on the server
    and gives them by and by, SQLite reads them as they are asked for; elsewhere the driver decides. sql: the query, or
    a file below `include/jobs`. Airflow renders it: `WHERE day >= '{{ data_interval_start }}'`.

    parameters: values by name, bound by the driver and no part of the query's text: what a person types into the
    trigger form belongs here. Airflow renders them, and a value that is one expression keeps its type:
    `parameters={"section": "{{ params.section }}"}`. The query has them as the driver writes them: `%(section)s` for
    PostgreSQL, where any other `%` is then doubled, `:section` for SQLite.

    tables: what the query reads, as `table` or `schema.table`, for Airflow's assets and for OpenLineage; the query is
    not looked at for it.

    Raises ConfigError for a declaration that cannot work.
    """

    what: ClassVar[str] = "SqlSource"

    conn_id: Annotated[str, "the id of a connection of Airflow"]
    sql: Annotated[str, "a query, or the name of a file below include/jobs"]
    parameters: Annotated[
        Mapping[_ParameterName, Any], 'values by name, an identifier each, such as {"day": "{{ params.day }}"}'
    ] = field(default_factory=dict)
    tables: Annotated[tuple[str, ...], Field(strict=False), 'a tuple of tables, such as ("public.tickets",)'] = ()


@dataclass(frozen=True, kw_only=True)
class FileSource(Declaration):
    """Rows of a file, or of all files of one format below a folder: Parquet, CSV or JSON Lines.

    path: local, or in an object store: `s3://conn_id@bucket/folder/`. Airflow renders it:
    `s3://lake@tickets/day={{ ds }}/`. A folder is read with all folders below it, in the order of names; names that
    begin with `.` or `_` are left out, and folders named `column=value` are a column more. A column that some of the
    files lack is NULL in their rows. Only the columns that the job uses are read, a few megabytes at a time.

    format: `parquet`, `csv`, `tsv` or `jsonl`; by default what the names say: .parquet, .pq, .csv, .tsv, .jsonl,
    .ndjson, where texts may be packed: .csv.gz.
    types: of columns, by name: `text`, `integer`, `float`, `decimal(12, 2)`, `boolean`, `date`, `timestamp`,
    `timestamptz` (with an offset), `json`. Parquet has types of its own, and JSON numbers, texts and nested values.
    The columns of CSV, and those that folders stand for, are text unless they are named here: the key `007` stays
    `007`. In CSV an empty field is NULL, and `""` an empty text.

    Raises ConfigError for a declaration that cannot work.
    """

    what: ClassVar[str] = "FileSource"

    path: Annotated[str, Field(pattern=r"\S"), "the path of a file or a folder"]
    format: Annotated[FileFormat | None, "csv, jsonl, parquet or tsv, or left out"] = None
    types: Annotated[Mapping[str, str], 'types by column, such as {"day": "date"}'] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse words that declare no type."""
        for words in self.types.values():
            check_type(words)


Source = SqlSource | FileSource
