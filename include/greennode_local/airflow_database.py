"""Airflow's database: migrated once per Airflow version into a template, copied from it in a moment."""

import importlib.metadata
import sys
from collections.abc import Mapping
from pathlib import Path

from psycopg import sql

from greennode_local.postgres_server import Postgres
from greennode_local.processes import run_to_end

DATABASE = "airflow"
_HALF_MADE = "airflow_migrating"


def template_name() -> str:
    """The migrated, empty database of the installed Airflow."""
    return f"airflow_empty_{importlib.metadata.version('apache-airflow-core')}"


def migrate_template(server: Postgres, environment: Mapping[str, str], *, log: Path) -> bool:
    """Make the template if it does not exist; returns whether it was made. An interrupted migration leaves none."""
    if server.has_database(template_name()):
        return False
    server.drop_database(_HALF_MADE)
    server.create_database(_HALF_MADE)
    run_to_end(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env={**environment, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": sqlalchemy_url(server, _HALF_MADE)},
        log=log,
        what="airflow db migrate",
    )
    server.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(_HALF_MADE), sql.Identifier(template_name()))
    )
    # The template of an older Airflow does not fit.
    server.drop_database(DATABASE)
    return True


def make_database(server: Postgres, *, fresh: bool) -> None:
    """The database of the deployment: an existing one unless `fresh`, else a copy of the template."""
    if fresh:
        server.drop_database(DATABASE)
    server.create_database(DATABASE, template=template_name())


def sqlalchemy_url(server: Postgres, database: str = DATABASE) -> str:
    """The URL in Airflow's configuration, from which Airflow derives the one for asyncpg."""
    return server.dsn(database, driver="psycopg2")
