from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greennode_faults.airflow_stage import AirflowStage, airflow_stage
from greennode_local.airflow_home import PROJECT
from greennode_local.samples import SAMPLES, data_of, load
from greennode_local.stack import LocalStack

# The DAGs do not change: to read all of them again every half a minute takes half a core from the runs.
_SETTINGS = {
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
}


def tracing_settings(endpoint: str) -> dict[str, str]:
    """The settings that the reference of spans shows, with this collector."""
    (shown,) = re.findall(r"```ini\n(.*?)```", (PROJECT / "docs" / "reference" / "spans.md").read_text(), re.DOTALL)
    settings = dict(line.split("=", 1) for line in shown.splitlines())
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" in settings
    return {**settings, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint}


@pytest.fixture(scope="session")
def stack(collector: Any) -> Iterator[LocalStack]:
    """The real thing: PostgreSQL, the emulator, and Airflow's scheduler, triggerer, DAG processor and API server.

    They send their spans to the collector.
    """
    settings = {**_SETTINGS, **tracing_settings(collector.endpoint)}
    # Not below pytest's own folder: see `postgres` in tests/conftest.py.
    with (
        tempfile.TemporaryDirectory(prefix="greennode-test-system-", ignore_cleanup_errors=True) as home,
        LocalStack(Path(home), settings=settings) as stack,
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
