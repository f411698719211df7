"""`make show TABLE=name`: the first rows of a table in the warehouse that `make ui` keeps running."""
# ruff: noqa: T201 - this module prints its results

import shutil
from pathlib import Path

import psycopg
from psycopg import sql

from greennode_local.credentials import load_credentials
from greennode_local.local_error import LocalError
from greennode_local.postgres_server import running_port, server_dsn
from greennode_local.stack import WAREHOUSE
from greennode_local.table_text import fits, format_records, format_table
from greennode_local.ui import HOME

_SHOWN_ROWS = 20
# If a table is too wide for the terminal, each row takes many lines.
_SHOWN_RECORDS = 5


def show_table(table: str, *, home: Path = HOME) -> None:
    """Print the table's first rows and their total number. LocalError if it or the deployment does not exist."""
    port = running_port(home / "postgres")
    if port is None:
        raise LocalError("nothing is running: start `make ui` first, in another terminal")
    credentials = load_credentials(home / "credentials.json")
    dsn = server_dsn(WAREHOUSE, port=port, password=credentials.postgres_password)
    with psycopg.connect(dsn) as connection:
        name = sql.Identifier(*table.split("."))
        try:
            rows = connection.execute(
                sql.SQL("SELECT * FROM {} ORDER BY 1 LIMIT {}").format(name, sql.Literal(_SHOWN_ROWS))
            )
        except psycopg.errors.UndefinedTable:
            raise LocalError(f"the warehouse has no table {table} (yet)") from None
        columns = [column.name for column in rows.description or ()]
        width = shutil.get_terminal_size((120, 24)).columns
        if fits(columns, width=width):
            print(format_table(columns, rows.fetchall(), width=width))
        else:
            print(format_records(columns, rows.fetchmany(_SHOWN_RECORDS), width=width))
        (count,) = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone() or (0,)
    print(f"{count:,} rows")
