"""SQL connections from the environment: `AIRFLOW_CONN_<ID>`, as Airflow has it, a URI or a JSON object."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from greennode_batch.errors import ConfigError

# Airflow's words for types of connections, where SQLAlchemy has others.
_DIALECTS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}


def connection_variable(conn_id: str) -> str:
    """The environment variable that has a connection."""
    return f"AIRFLOW_CONN_{conn_id.upper()}"


def connect_sql(conn_id: str) -> Any:
    """A DB-API connection to the database of a connection. Raises ConfigError where there is none to be had."""
    # Most commands read files, and load nothing of databases.
    from sqlalchemy import URL, create_engine  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError  # noqa: PLC0415

    variable = connection_variable(conn_id)
    said = os.environ.get(variable)
    if not said:
        raise ConfigError(
            f"the source needs the connection {conn_id}: put its URI into the environment variable {variable}, such as "
            "postgres://USER:PASSWORD@HOST/DATABASE or sqlite:////FOLDER/FILE.db, or name files with the rows by --in. "
            "Nothing was sent"
        )
    where = f"connection {conn_id} ({variable})"
    try:
        url = URL.create(**_url(said))
        if url.drivername == "sqlite" and not Path(url.database or "").is_file():
            raise ConfigError(f"{where}: {url.database}: no such file. Nothing was sent")
        dialect = create_engine(url).dialect
    except (NoSuchModuleError, ImportError) as error:
        raise ConfigError(f"{where}: no driver for it is installed here ({error}). Nothing was sent") from None
    except (ValueError, ArgumentError):
        raise ConfigError(f"{where} is no URI and no JSON object of a connection. Nothing was sent") from None
    arguments, options = dialect.create_connect_args(url)
    try:
        return dialect.connect(*arguments, **options)
    except dialect.loaded_dbapi.Error as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split())}. Nothing was sent") from None


def _url(said: str) -> dict[str, Any]:
    return _json_url(json.loads(said)) if said.lstrip().startswith("{") else _uri_url(said)


def _json_url(fields: dict[str, Any]) -> dict[str, Any]:
    kind = str(fields["conn_type"]) if fields.get("conn_type") else ""
    if kind == "sqlite":
        return {"drivername": "sqlite", "database": fields.get("host") or fields.get("schema")}
    return {
        "drivername": _dialect(kind),
        "username": fields.get("login"),
        "password": fields.get("password"),
        "host": fields.get("host"),
        "port": int(fields["port"]) if fields.get("port") else None,
        "database": fields.get("schema"),
    }


def _uri_url(uri: str) -> dict[str, Any]:
    parts = urlsplit(uri)
    if parts.scheme == "sqlite":
        path = unquote(parts.netloc + parts.path.removeprefix("/"))
        return {"drivername": "sqlite", "database": path, "query": dict(parse_qsl(parts.query))}
    return {
        "drivername": _dialect(parts.scheme),
        "username": None if parts.username is None else unquote(parts.username),
        "password": None if parts.password is None else unquote(parts.password),
        "host": None if parts.hostname is None else unquote(parts.hostname),
        "port": parts.port,
        "database": unquote(parts.path.removeprefix("/")) or None,
        "query": dict(parse_qsl(parts.query)),
    }


def _dialect(kind: str) -> str:
    if not kind:
        raise ValueError("no type")
    return _DIALECTS.get(kind, kind.replace("-", "_"))
