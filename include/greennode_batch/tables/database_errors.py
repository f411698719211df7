"""Database errors: what a driver says, without values of rows; whether it is final; and what helps."""

from __future__ import annotations

import re
from typing import NamedTuple

from greennode_batch.tables.sql_dialect import Dialect
from greennode_batch.tables.table_columns import WAY_OUT, quote

# Classes of SQLSTATE: such a statement fails until somebody changes something. _LATER are the exceptions.
_FINAL_CLASSES = frozenset({"0A", "21", "22", "23", "25", "28", "2F", "38", "39", "3F", "42", "44", "54", "55", "P0"})
_LATER = frozenset({"25P03", "42P07", "55006", "55P03"})
# Of two workers that make one table at once, one finds it when it tries again.
_MADE_MEANWHILE = re.compile(r"already exists|\bpg_(class|type)_")
_NO_RESOURCES = "53"
_NO_RIGHT, _READ_ONLY, _NO_SCHEMA = "42501", "25006", "3F000"
_CHECK, _NOT_NULL, _NOT_UNIQUE = "23514", "23502", {"23505", "23P01"}
# In errors about data, the values of rows stand in quotes.
_ABOUT_DATA = "22"
# A constraint, the condition of a view, and what a trigger raises: with RAISE alone, or with a class that its author
# chose, in the range that the SQL standard leaves to implementations. PostgreSQL's own classes there are no such thing.
_ABOUT_ROWS = frozenset({_ABOUT_DATA, "23", "44"})
_RAISED = "P0001"
_FREE_CLASS = re.compile(r"[5-9I-Z]")
_CLASSES_OF_POSTGRES = frozenset({"53", "54", "55", "57", "58", "72", "P0", "XX"})
_IN_QUOTES = re.compile(r'".*"', re.DOTALL)
_COLUMN = re.compile(r"\bcolumn ([^:\n]+)")
# What a user lacks, by PostgreSQL's message.
_GRANTS = {
    "for schema (.+)": "USAGE, CREATE ON SCHEMA",
    "for sequence (.+)": "USAGE ON SEQUENCE",
    "temporary tables in database (.+)": "TEMPORARY ON DATABASE",
}

# Primary result codes of SQLite.
_SQLITE_FINAL = frozenset({1, 3, 8, 18, 19, 20, 23, 25})
_SQLITE_READ_ONLY, _SQLITE_FULL = 8, 13
_SQLITE_ABOUT_VALUES = frozenset({18, 19, 20})

# Where other databases show values: MySQL, SQL Server, and those that quote them.
_VALUES = re.compile(
    r"(?<= entry )'.*'(?= for key)|(?<= value: )'.*'(?= for column)|(?<= value: )'.*'|(?<= value is )\(.*\)|\".*\""
)
_IN_ANY_QUOTES = re.compile(r"'.*'")
# Names of DB-API's and SQLAlchemy's classes, for drivers that give no code.
_ABOUT_VALUES = frozenset({"DataError", "IntegrityError"})
# Of MySQL and MariaDB, whose drivers call some of these OperationalError: data, CHECK constraints, and a trigger's
# SIGNAL.
_MYSQL_ABOUT_VALUES = frozenset({1264, 1265, 1366, 1406, 1644, 3819, 4025})
_FINAL_NAMES = _ABOUT_VALUES | {"NotSupportedError", "ProgrammingError"}


class Refusal(NamedTuple):
    """A database's error."""

    reason: str
    """What it says, without values of rows."""
    code: str = ""
    """SQLSTATE; empty if the driver gives none."""
    constraint: str = ""
    column: str = ""
    is_final: bool = False
    """Whether the same statement fails until somebody changes something."""
    is_full: bool = False
    """Whether the database has no disk, memory or connection left."""
    is_read_only: bool = False
    """Whether the connection, the database or its file takes no changes at all."""
    is_about_values: bool = False
    """Whether values of rows do not fit their types, or break a constraint."""


def refusal(error: BaseException) -> Refusal:
    """What a driver's error says. PostgreSQL's DETAIL and CONTEXT are left out: they have the values of rows."""
    own = getattr(error, "orig", None) or error
    code = getattr(own, "sqlstate", None) or getattr(own, "pgcode", None)
    if code and hasattr(own, "diag"):
        return _of_postgres(own, str(code))
    number = getattr(own, "sqlite_errorcode", None)
    if number is None:
        return _of_others(error, own, str(code or ""))
    words = " ".join(str(own).split())
    primary = number & 0xFF
    return Refusal(
        words,
        is_final=primary in _SQLITE_FINAL and not _MADE_MEANWHILE.search(words),
        is_full=primary == _SQLITE_FULL,
        is_read_only=primary == _SQLITE_READ_ONLY,
        is_about_values=primary in _SQLITE_ABOUT_VALUES,
    )


def way_out(refused: Refusal, dialect: Dialect, *, removes: bool = False) -> str:
    """How to go on after a refusal, with the statement that helps if it is known.

    removes: whether the run also deletes rows.
    """
    if refused.is_read_only:
        return (
            "The connection or the database is read-only. Use one that may write (the primary server, or a file opened "
            "for writing), and run this step again; nothing is paid twice"
        )
    statement = fix(refused, dialect, removes=removes)
    return f"{WAY_OUT}: {statement}" if statement else WAY_OUT


def fix(refused: Refusal, dialect: Dialect, *, removes: bool = False) -> str:
    """The statement that helps; empty if it is not known."""
    table, user = dialect.quoted, quote(dialect.user) if dialect.user else "…"
    if refused.code == _NO_SCHEMA:
        return f"CREATE SCHEMA {table.rpartition('.')[0]}"
    if refused.code == _CHECK and refused.constraint:
        return f"ALTER TABLE {table} DROP CONSTRAINT {quote(refused.constraint)}"
    if refused.code == _NOT_NULL and refused.column:
        return dialect.alter_column(refused.column, "DROP NOT NULL")
    if refused.code in _NOT_UNIQUE and refused.constraint:
        return dialect.drop_index(refused.constraint)
    if refused.code == _NO_RIGHT:
        return _granting(refused.reason, table, user, removes=removes)
    return ""


def _granting(reason: str, table: str, user: str, *, removes: bool) -> str:
    for pattern, rights in _GRANTS.items():
        if found := re.search(pattern, reason):
            name = found[1].strip('"')
            return f"GRANT {rights} {quote(name)} TO {user}"
    if "row-level security" in reason:
        return f"CREATE POLICY greennode ON {table} TO {user} USING (true) WITH CHECK (true)"
    if "must be owner" in reason:
        return f"ALTER TABLE {table} OWNER TO {user}"
    return f"GRANT SELECT, INSERT, UPDATE{', DELETE' if removes else ''} ON {table} TO {user}"


def _of_others(error: BaseException, own: BaseException, code: str) -> Refusal:
    """own: the driver's error, or an error of Python, if SQLAlchemy cannot convert a value to its column's type."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    number = 0
    match own.args:
        case (int() as number, str() as text):  # of a driver for MySQL
            words = f"{text} ({number})"
        case _:
            words = str(own)
    words = _VALUES.sub("…", " ".join(words.split()))
    if is_python := type(error).__name__ == "StatementError":
        words = _IN_ANY_QUOTES.sub("…", words)
    is_about_values = (
        is_python or bool(_ABOUT_VALUES & kinds) or number in _MYSQL_ABOUT_VALUES or code[:2] in _ABOUT_ROWS
    )
    return Refusal(
        words,
        is_final=(is_about_values or bool(_FINAL_NAMES & kinds)) and not _MADE_MEANWHILE.search(words),
        is_about_values=is_about_values,
    )


def _of_postgres(error: BaseException, code: str) -> Refusal:
    said = getattr(error, "diag", None)
    words = " ".join((getattr(said, "message_primary", None) or str(error).partition("\n")[0]).split())
    if code.startswith(_ABOUT_DATA):
        words = _IN_QUOTES.sub('"…"', words)
        column = _COLUMN.search(getattr(said, "context", None) or "")
        words += f" (column {column[1]})" if column else ""
    is_of_trigger = code == _RAISED or (bool(_FREE_CLASS.match(code)) and code[:2] not in _CLASSES_OF_POSTGRES)
    is_about_values = is_of_trigger or code[:2] in _ABOUT_ROWS
    return Refusal(
        words,
        code,
        constraint=getattr(said, "constraint_name", None) or "",
        column=getattr(said, "column_name", None) or "",
        is_final=(is_about_values or code[:2] in _FINAL_CLASSES)
        and code not in _LATER
        and not _MADE_MEANWHILE.search(words),
        is_full=code.startswith(_NO_RESOURCES),
        is_read_only=code == _READ_ONLY,
        is_about_values=is_about_values,
    )
