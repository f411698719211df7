from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from greennode_faults.airflow_stage import AirflowStage, airflow_stage
from greennode_local.samples import SAMPLES, data_of, load
from greennode_local.stack import LocalStack

# The DAGs do not change: to read all of them again every half a minute takes half a core from the runs.
_SETTINGS = {
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
}


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """The real thing: PostgreSQL, the emulator, and Airflow's scheduler, triggerer, DAG processor and API server."""
    # Not below pytest's own folder: see `postgres` in tests/conftest.py.
    with (
        tempfile.TemporaryDirectory(prefix="greennode-test-system-", ignore_cleanup_errors=True) as home,
        LocalStack(Path(home), settings=_SETTINGS) as stack,
    ):
        sample = SAMPLES["support_tickets"]
        with stack.warehouse() as connection:
            load(connection, sample, data_of(sample, None))
        stack.wait_until_ready(SAMPLES)
        yield stack


@pytest.fixture(scope="module")
def faults_stage() -> Iterator[AirflowStage]:
    """Another one, whose Airflow notices soon what died, with staging on S3."""
    with airflow_stage() as stage:
        yield stage
