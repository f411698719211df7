"""`make ui`: the same deployment, left running, with Airflow's pages."""
# ruff: noqa: T201 - this module prints its results

import time
from pathlib import Path

from greennode_local.airflow_home import PROJECT
from greennode_local.credentials import ADMIN
from greennode_local.samples import SAMPLES, data_of, is_loaded, load
from greennode_local.stack import LocalStack

HOME = PROJECT / ".local" / "ui"
_GUIDE = """
Airflow    {url}
log in     user {user}, password {password}
try it     Dags -> {name} -> Trigger (top right) -> Trigger; then watch the tasks in the grid
           the waiting task is deferred: it holds no worker while the batch runs
           table {source} goes in, {target} comes out; Docs in the menu describes the other DAGs
connection Admin -> Connections -> greennode_default leads to the local emulator; with your own key and
           the service's https address there, the same DAG uses the real service, and it stays so next time
stop       Ctrl-C
"""


def run_ui(
    *, port: int, data: Path | None, upstream: str | None = None, home: Path = HOME, batch_seconds: float = 20
) -> None:
    """Start everything, show how to log in, run until Ctrl-C. Data and history stay for the next time.

    upstream: the base URL of a model server that answers instead of the emulator.
    """
    print(f"starting PostgreSQL, the GreenNode emulator and Airflow in {home}", flush=True)
    with LocalStack(
        home,
        ui_port=port,
        batch_seconds=batch_seconds,
        connections_in_database=True,
        emulator_options=("--upstream", upstream) if upstream else (),
        say=_say,
    ) as stack:
        sample = SAMPLES["package_sections" if data else "support_tickets"]
        new: set[str] = set()
        with stack.warehouse() as connection:
            for one in SAMPLES.values():
                given = data if one is sample else None
                if given or (one.data and not is_loaded(connection, one)):
                    rows = load(connection, one, data_of(one, given))
                    new.add(one.dag_id)
                    _say(f"loaded {rows} rows into table {one.source_table}")
        stack.wait_until_ready(SAMPLES)
        for one in SAMPLES.values():
            # Another DAG's end starts it. If a person has paused it since, it stays paused.
            if one.after in new:
                stack.airflow.client.unpause(one.dag_id)
        print(
            _GUIDE.format(
                url=f"http://localhost:{stack.airflow.home.port}",
                user=ADMIN,
                password=stack.airflow.home.credentials.admin_password,
                # As Airflow shows it: by the heading of its docstring.
                name=sample.dag_id.replace("_", " ").capitalize(),
                source=sample.source_table,
                target=sample.target_table,
            ),
            flush=True,
        )
        while True:
            stack.check()
            time.sleep(1)


def _say(line: str) -> None:
    print(f"  {line}", flush=True)
