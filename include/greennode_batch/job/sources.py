"""Sources: where a job's rows come from, a query or files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from greennode_batch.job.declaration import Declaration
from greennode_batch.job.file_types import CsvDialect, FileFormat, check_dialect, check_type

_ParameterName = Annotated[str, Field(pattern=r"^[^\W\d]\w*$")]


@dataclass(frozen=True, kw_only=True)
class SqlSource(Declaration):
    """The rows of a query on a database.

    Raises ConfigError for a declaration that cannot work.
    """

    what: ClassVar[str] = "SqlSource"

    conn_id: Annotated[str, "the id of a connection of Airflow"]
    """An Airflow connection whose hook gives a DB-API connection.

    PostgreSQL streams the rows from a server-side cursor and SQLite reads them on demand; with other databases the
    driver decides.
    """

    sql: Annotated[str, "a query, or the name of a file below include/jobs"]
    """The query, or the name of a file below `include/jobs`.

    Airflow renders it: `WHERE day = '{{ partition_key }}'`, or `'{{ ds }}'`. A run that lacks what the query names
    fails before anything is sent.
    """

    parameters: Annotated[
        Mapping[_ParameterName, Any], 'values by name, an identifier each, such as {"day": "{{ params.day }}"}'
    ] = field(default_factory=dict)
    """Values that the driver binds by name, outside the query's text. Use them for what a person types into the trigger
    form.

    Airflow renders them, and a value that is a single expression keeps its type:
    `parameters={"section": "{{ params.section }}"}`. In the query, use the driver's syntax: `%(section)s` for
    PostgreSQL, where you then double any other `%`; `:section` for SQLite.
    """

    tables: Annotated[tuple[str, ...], Field(strict=False), 'a tuple of tables, such as ("public.tickets",)'] = ()
    """The tables that the query reads, as `table` or `schema.table`, for Airflow's assets and for OpenLineage.

    The query itself is not parsed for them.
    """


@dataclass(frozen=True, kw_only=True)
class FileSource(Declaration):
    """The rows of a file, or of all files of one format below a folder: Parquet, CSV or JSON Lines.

    Raises ConfigError for a declaration that cannot work.
    """

    what: ClassVar[str] = "FileSource"

    path: Annotated[str, Field(pattern=r"\S"), "the path of a file or a folder"]
    """A local path, or one in an object store: `s3://conn_id@bucket/folder/`, `gs://…` or `abfs://…`.

    Airflow renders it: `s3://lake@tickets/day={{ ds }}/`. A folder is read with all its subfolders, in the order of
    their names. Names that begin with `.` or `_`, markers, and documents such as README.md are skipped, and a folder
    named `column=value` adds a column. A column that some of the files lack is NULL in their rows. Only the columns
    that the job uses are read, a few megabytes at a time.
    """

    format: Annotated[FileFormat | None, "csv, jsonl, parquet or tsv, or left out"] = None
    """`parquet`, `csv`, `tsv` or `jsonl`.

    By default the file names decide: .parquet, .pq, .csv, .tsv, .jsonl, .ndjson. Text formats may be compressed, as in
    .csv.gz.
    """

    types: Annotated[Mapping[str, str], 'types by column, such as {"day": "date"}'] = field(default_factory=dict)
    """Column types by name: `text`, `integer`, `float`, `decimal(12, 2)`, `boolean`, `date`, `timestamp`, `timestamptz`
    (with an offset), `json`.

    Parquet and JSON have types themselves. Columns of CSV files, and those that folder names add, are text unless you
    name them here: the key `007` stays `007`. In CSV an empty field is NULL, and `""` is an empty text.
    """

    delimiter: Annotated[str | None, "one character, such as ';', or left out"] = None
    """The character between the values of a CSV file: by default a comma, and a tab in TSV."""

    quote: Annotated[str | None, "one character, empty, or left out"] = None
    """The character that encloses values of a CSV file: by default `"`. Empty if no value is enclosed, so that a `"` is
    an ordinary character."""

    escape: Annotated[str | None, "one character, such as a backslash, or left out"] = None
    """The character before a quote that belongs to the value, as in `"24\\" wide"`. It may also stand before a
    delimiter and before itself. By default such a quote is doubled."""

    encoding: Annotated[str | None, "the name of an encoding, such as 'cp1252', or left out"] = None
    """The encoding of CSV files, by the name that Python has for it: `cp1252`, `utf-16`, `shift_jis`. By default UTF-8,
    with or without a byte order mark."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a type or a dialect that does not exist."""
        for words in self.types.values():
            check_type(words)
        check_dialect(self.dialect)

    @property
    def dialect(self) -> CsvDialect:
        """How its CSV files are written."""
        return CsvDialect(self.delimiter, self.quote, self.escape, self.encoding)


Source = SqlSource | FileSource
