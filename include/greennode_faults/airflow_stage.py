"""Stage of the Airflow cases: a real Airflow that soon notices dead processes, two emulators, and staging on S3."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from greennode_emulator.server import RunningEmulator
from greennode_faults.engine import bench
from greennode_faults.stage import Answers, Label, RowOut, source_rows
from greennode_local.emulator import Emulator, starting_emulator
from greennode_local.object_store import ObjectStore, running_object_store
from greennode_local.stack import LocalStack

SHARDS = 2
"""How many shards the pipelines of dags/airflow_faults.py make of the table."""
BATCH_SECONDS = 1.5
_BUCKET = "staging"
_DAGS = Path(__file__).parent / "dags"
# By default Airflow needs five minutes to notice a dead worker, and half a minute for the other components.
# 8 seconds are enough on two busy cores: any less, and a late heartbeat would make a zombie of a healthy worker.
_SETTINGS = {
    "AIRFLOW__CORE__PARALLELISM": "8",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "8",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    # The pipelines do not change: without parsing, the cores are free for the cases.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
}
# The scheduler loads plugins before it forks its workers. Modules that it has loaded need no import in a task: that
# saves more than one of the two seconds of CPU that a task takes.
_PRELOAD = """
import sys

if "scheduler" in sys.argv:
    import airflow.providers.amazon.aws.fs.s3
    import airflow.providers.amazon.aws.hooks.base_aws
    import airflow.providers.postgres.hooks.postgres
    import greennode_airflow.pipeline
    import s3fs
"""


@dataclass(frozen=True)
class Lane:
    """One table's path through one server. Two lanes can be used at the same time."""

    emulator: RunningEmulator
    source: str
    target: str

    def clear(self, connection: psycopg.Connection) -> None:
        """Forget bills and faults, and start with a full source and no target."""
        self.emulator.reset()
        source, target = sql.Identifier(self.source), sql.Identifier(self.target)
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}, {}").format(source, target))
        connection.execute(sql.SQL("CREATE TABLE {} (id int PRIMARY KEY, text text)").format(source))
        with connection.cursor() as cursor:
            cursor.executemany(sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(source), source_rows())
        connection.commit()

    def rows(self, connection: psycopg.Connection) -> list[RowOut]:
        """The target's rows; none if it does not exist."""
        if connection.execute("SELECT to_regclass(%s)", [self.target]).fetchone() == (None,):
            return []
        columns = sql.SQL(", ").join(map(sql.Identifier, ("id", "status", "custom_id", *Label.model_fields)))
        found = connection.execute(sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier(self.target)))
        return [RowOut(id=row[0], status=row[1], custom_id=row[2], answer=tuple(row[3:])) for row in found]


@dataclass(frozen=True)
class AirflowStage:
    """What the cases run on. `wanted`: the right answers, which the engine got from another emulator."""

    stack: LocalStack
    store: ObjectStore
    lanes: dict[str, Lane]
    wanted: Answers


@contextmanager
def airflow_stage() -> Iterator[AirflowStage]:
    """Start everything; it is stopped at the end, however the cases end."""
    with ExitStack() as parts:
        # Not below pytest's own folder: see `postgres.running_postgres`.
        folder = Path(
            parts.enter_context(tempfile.TemporaryDirectory(prefix="greennode-faults-", ignore_cleanup_errors=True))
        )
        # A separate home: a stack that starts ends everything that runs in its home.
        aside = folder / "aside"
        store = parts.enter_context(running_object_store(aside / "s3", log=aside / "s3.log", home=aside))
        store.make_bucket(_BUCKET)
        second = parts.enter_context(
            starting_emulator(
                aside / "emulator",
                api_key="local-aside",
                batch_seconds=BATCH_SECONDS,
                log=aside / "emulator.log",
                home=aside,
            )
        )
        plugins = folder / "plugins"
        plugins.mkdir()
        (plugins / "preload.py").write_text(_PRELOAD)
        stack = parts.enter_context(
            LocalStack(
                folder / "stack",
                dags_folder=_DAGS,
                batch_seconds=BATCH_SECONDS,
                connections={
                    "aws_staging": {
                        "conn_type": "aws",
                        "login": store.key,
                        "password": store.secret,
                        "extra": {"endpoint_url": store.endpoint_url, "region_name": "us-east-1"},
                    },
                    "greennode_aside": {
                        "conn_type": "greennode",
                        "host": second.base_url,
                        "password": second.api_key,
                    },
                },
                settings={
                    **_SETTINGS,
                    "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
                    "AIRFLOW__GREENNODE__STAGING": f"s3://aws_staging@{_BUCKET}/greennode",
                    # Its staging is new, and a fault in a pilot would be the only fault of its run.
                    "AIRFLOW__GREENNODE__PILOT_REQUESTS": "0",
                    # Beside a part of a file, as of a function's rows, the store names the checksum of the whole.
                    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
                },
            )
        )
        with bench("openai") as undisturbed:
            wanted = undisturbed.wanted
        main = Lane(_control(stack.emulator), "faults_in", "faults_out")
        aside_lane = Lane(_control(second), "faults_aside_in", "faults_aside_out")
        lanes = {
            "faults": main,
            "faults_canary": main,
            "faults_whole_job": main,
            "faults_function": main,
            "faults_aside": aside_lane,
            "faults_finish_by": aside_lane,
        }
        second.wait_until_healthy()
        stack.wait_until_ready(lanes)
        for dag_id in lanes:
            stack.airflow.client.unpause(dag_id)
        yield AirflowStage(stack, store, lanes, wanted)


def _control(emulator: Emulator) -> RunningEmulator:
    return RunningEmulator(emulator.url, emulator.base_url, emulator.api_key)
