"""Airflow's components as processes: the api-server, and beside it the others in turn; all stop with their children."""

import sys
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime

import psycopg

from greennode_local.airflow_client import AirflowClient
from greennode_local.airflow_home import AirflowHome
from greennode_local.processes import Service, kill, wait_until

# In the order of their start. To load, a component takes 4 s of CPU, the api-server 8 s, and 4 s more before
# the first task can run. So on two cores the api-server has one core, and the others take turns on the other.
TURNS = {"dag-processor": "DagProcessorJob", "scheduler": "SchedulerJob", "triggerer": "TriggererJob"}
# The triggerer waits 10 s for its runner process at every stop, with or without triggers.
_GRACE_SECONDS = 3


class Airflow:
    """A starting or running Airflow. `client` calls its API."""

    def __init__(self, home: AirflowHome, connect: Callable[[], psycopg.Connection]) -> None:
        self.home = home
        self.started = datetime.now(UTC)
        self.client = AirflowClient(home.url, home.credentials.admin_password)
        self.services: list[Service] = []
        self._connect = connect
        self._environment = home.environment()
        self._waiting = list(TURNS)
        self._is_warm = False
        self._start("api-server")
        self._start_next()

    def wait_until_ready(self, dag_ids: Collection[str] = (), *, seconds: float = 300) -> None:
        """Wait for the first heartbeat of every component, and for these DAGs to be parsed."""
        wait_until(self._is_ready, what="Airflow", seconds=seconds, services=self.services, poll_seconds=0.2)
        self.client.wait_for_dags(dag_ids, since=self.started)

    def stop(self) -> None:
        """Ask all components at once to stop, then kill those that remain, and their children."""
        self.client.close()
        family = [process for service in self.services for process in service.family()]
        for service in self.services:
            service.ask_to_stop()
        deadline = time.monotonic() + _GRACE_SECONDS
        for service in self.services:
            service.stop(grace_seconds=max(0.1, deadline - time.monotonic()))
        kill(family)

    def restart(self, component: str) -> None:
        """Stop one component and start it again."""
        service = next(service for service in self.services if service.name == component)
        service.stop(grace_seconds=_GRACE_SECONDS)
        self.services.remove(service)
        self._start(component)

    def kill(self, component: str) -> None:
        """End one component at once, with all its children, as a crash of its machine would (`kill -9`)."""
        service = next(service for service in self.services if service.name == component)
        kill(service.family())
        service.process.wait()
        self.services.remove(service)

    def start(self, component: str) -> None:
        """Start a component that was killed."""
        self._start(component)

    def _start(self, component: str) -> None:
        command = [sys.executable, "-m", "airflow", component]
        log = self.home.logs / f"{component}.log"
        self.services.append(Service(component, command, env=self._environment, log=log))

    def _start_next(self) -> None:
        if self._waiting:
            self._start(self._waiting.pop(0))

    def _is_ready(self) -> bool:
        if TURNS.get(self.services[-1].name) in self._jobs():
            self._start_next()
        self._is_warm = self._is_warm or self.client.warm_up()
        return self._is_warm and not self._waiting and self.client.is_healthy(since=self.started)

    def _jobs(self) -> set[str]:
        """The kinds of component with a heartbeat since the start, from Airflow's own table."""
        with self._connect() as connection:
            rows = connection.execute("SELECT job_type FROM job WHERE latest_heartbeat >= %s", [self.started])
            return {job_type for (job_type,) in rows}
