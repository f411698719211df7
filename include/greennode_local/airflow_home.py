"""The home folder and the environment of a local Airflow: everything is set here, no airflow.cfg is read or edited."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from greennode_local.credentials import ADMIN, Credentials, write_private
from greennode_local.ports import LOOPBACK
from greennode_local.processes import MARK

PROJECT = Path(__file__).resolve().parents[2]
PASSWORDS_FILE = "simple_auth_manager_passwords.json.generated"


@dataclass(frozen=True)
class AirflowHome:
    """The parts of one Airflow deployment. Its processes get `environment()` and nothing else."""

    folder: Path
    dags_folder: Path
    port: int
    sql_alchemy_conn: str = field(repr=False)
    credentials: Credentials = field(repr=False)
    # Connection id -> the connection in Airflow's JSON form.
    connections: Mapping[str, Mapping[str, object]] = field(repr=False)
    log_ports: tuple[int, int]
    mark: Path
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """The address of the API server."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def logs(self) -> Path:
        """The folder with one log file for each component."""
        return self.folder / "components"

    def prepare(self) -> None:
        """Make the folder and the password file of Airflow's simple login."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_private(self.folder / PASSWORDS_FILE, msgspec.json.encode({ADMIN: self.credentials.admin_password}))

    def environment(self) -> dict[str, str]:
        """The whole environment of Airflow's processes: ours without interfering variables, and the settings."""
        return {
            **inherited_environment(os.environ),
            "AIRFLOW_HOME": str(self.folder),
            "PYTHONPATH": path_roots(),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            # setproctitle would overwrite the environment, by which our processes are recognised.
            "SPT_NOENV": "1",
            # Airflow's own, at the start of the log of each task.
            "PYTHONWARNINGS": "ignore:GitWildMatchPattern",
            # So that the probe's DAG can save the profile in a connection.
            "AIRFLOW_API_USERNAME": ADMIN,
            "AIRFLOW_API_PASSWORD": self.credentials.admin_password,
            MARK: str(self.mark),
            **self._airflow_settings(),
            **{f"AIRFLOW_CONN_{name.upper()}": _json(value) for name, value in self.connections.items()},
            **self.settings,
        }

    def _airflow_settings(self) -> dict[str, str]:
        worker_log_port, trigger_log_port = self.log_ports
        sections: dict[str, dict[str, object]] = {
            "core": {
                "dags_folder": self.dags_folder,
                "plugins_folder": PROJECT / "plugins",
                "load_examples": False,
                "executor": "LocalExecutor",
                # LocalExecutor forks this many workers at the start.
                "parallelism": 4,
                "fernet_key": self.credentials.fernet_key,
                "test_connection": "Enabled",
                "execution_api_server_url": f"{self.url}/execution/",
                "simple_auth_manager_users": f"{ADMIN}:admin",
                "simple_auth_manager_passwords_file": self.folder / PASSWORDS_FILE,
            },
            "database": {"sql_alchemy_conn": self.sql_alchemy_conn},
            "api": {
                "host": LOOPBACK,
                "port": self.port,
                "workers": 1,
                "base_url": f"http://localhost:{self.port}",
                "secret_key": self.credentials.api_secret_key,
            },
            "api_auth": {"jwt_secret": self.credentials.jwt_secret},
            "logging": {
                "base_log_folder": self.folder / "logs",
                "worker_log_server_port": worker_log_port,
                "trigger_log_server_port": trigger_log_port,
            },
            "scheduler": {"scheduler_idle_sleep_time": 0.2, "enable_health_check": False},
            "dag_processor": {
                "refresh_interval": 5,
                "bundle_refresh_check_interval": 1,
                "parsing_processes": 2,
            },
            "usage_data_collection": {"enabled": False},
        }
        return {
            f"AIRFLOW__{section.upper()}__{option.upper()}": str(value)
            for section, options in sections.items()
            for option, value in options.items()
        }


def path_roots() -> str:
    """PYTHONPATH: the path roots, never the project root, which would make `include` an import name."""
    return os.pathsep.join([str(PROJECT / "include"), str(PROJECT / "plugins")])


def inherited_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without another Airflow's settings, Python switches and a real API key.

    PYTHONDONTWRITEBYTECODE, which container images often set, would make each component compile all of Airflow
    again: 2 s of CPU each.
    """
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith(("AIRFLOW", "PYTHON", "GREENNODE", "_AIRFLOW"))
    }


def _json(value: Mapping[str, object]) -> str:
    return msgspec.json.encode(value).decode()
