"""GreenNodeProbeOperator: find out what the server of a connection speaks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.configuration import conf

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.form import check_conf, declared_names
from greennode_airflow.hooks import GreenNodeHook, client_arguments
from greennode_airflow.runtime.runs import begin_run, staging_root
from greennode_batch.errors import ConfigError
from greennode_batch.probe.probe_run import Probe
from greennode_batch.probe.saved_profile import check_connection, save_profile
from greennode_batch.probe.state import DEFAULT_WAIT_SECONDS
from greennode_batch.state.confirmed_profile import confirm

_FIELDS = ("connection_id", "model", "wait_seconds", "save")


class GreenNodeProbeOperator(BaseOperator):
    """Sends a few tiny requests and two-line batches, logs the report, and returns the folder with all of it.

    model: an id of the server's list; empty: the first for chat. wait_seconds: how long to wait for batches; the
    worker is busy for so long. save: whether the profile is written into the connection's extra field, by Airflow's
    REST API; the log shows it first. The environment of the worker says how (AIRFLOW_API_TOKEN, or
    AIRFLOW_API_USERNAME and AIRFLOW_API_PASSWORD); if that does not work, the task fails before it sends anything. If
    the answers of a batch were read with the profile, runs with it need no pilot. If batches are still open after that,
    the task succeeds and says so: clear it later, and it checks them again and sends nothing twice. strict_conf:
    whether a key of the run's conf that is no param of the DAG fails the task before anything is sent; else one that
    nearly is a field of the form does.
    """

    template_fields: Sequence[str] = ("greennode_conn_id", "model", "wait_seconds", "save")
    ui_color = "#e3f4ea"

    def __init__(
        self,
        *,
        greennode_conn_id: str = GreenNodeHook.default_conn_name,
        model: str | None = None,
        wait_seconds: float | str = DEFAULT_WAIT_SECONDS,
        save: bool | str = False,
        strict_conf: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.strict_conf = strict_conf
        self.declared = declared_names(self.get_dag())
        self.greennode_conn_id = greennode_conn_id
        self.model = model
        self.wait_seconds = wait_seconds
        self.save = save

    @fail_without_retry
    def execute(self, context: Context) -> str:
        """Probe, or go on with this run's probe."""
        check_conf(context["dag_run"].conf, self.declared, strict=self.strict_conf, fields=_FIELDS)
        connection = GreenNodeHook().get_connection(self.greennode_conn_id)
        arguments = client_arguments(connection)
        saves = str(self.save).lower() == "true"
        airflow_url = conf.get("api", "base_url", fallback=None)
        if saves:
            check_connection(self.greennode_conn_id, arguments["base_url"], url=airflow_url)
        folder = begin_run(context).path / "probe"
        probe = Probe(
            **arguments,
            folder=folder,
            model=self.model or None,
            wait_seconds=_seconds(self.wait_seconds),
            say=self.log.info,
        )
        outcome = probe.run()
        for line in outcome.text.splitlines():
            self.log.info("%s", line)
        self.log.info("The raw replies and the reports are in %s", folder)
        if outcome.state.ended is not None:
            raise ConfigError(f"the probe ended early: {outcome.state.ended}")
        if outcome.waits:
            self.log.warning("Batches are still open. Clear this task later: it continues and sends nothing twice")
        if outcome.confirms_profile:
            confirm(staging_root(), probe.host, outcome.found.profile, now=time.time())
            self.log.info("With this profile a run needs no pilot: the answers of a batch were read with it")
        if saves and outcome.may_be_saved:
            extra = outcome.found.extra
            save_profile(self.greennode_conn_id, arguments["base_url"], extra, say=self.log.info, url=airflow_url)
        return str(folder)


def _seconds(value: float | str) -> float:
    try:
        return max(0.0, float(value))
    except ValueError:
        raise ConfigError(f"wait_seconds is {value!r}, not a number of seconds") from None
