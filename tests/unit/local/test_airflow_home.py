import os
import stat
from dataclasses import asdict
from pathlib import Path

import msgspec
import pytest

from greennode_local.airflow_home import PROJECT, AirflowHome, inherited_environment
from greennode_local.credentials import Credentials

CONNECTION = {"conn_type": "greennode", "host": "http://127.0.0.1:1/v1", "password": "a-key"}


@pytest.fixture
def home(tmp_path: Path) -> AirflowHome:
    return AirflowHome(
        folder=tmp_path / "airflow",
        dags_folder=tmp_path / "dags",
        port=12345,
        sql_alchemy_conn="postgresql+psycopg2://postgres:hidden@127.0.0.1:1/airflow",
        credentials=Credentials(),
        connections={"greennode_default": CONNECTION},
        log_ports=(1, 2),
        mark=tmp_path,
        settings={"AIRFLOW__GREENNODE__STAGING": "file:///staging"},
    )


def test_the_project_root_is_not_on_the_python_path(home: AirflowHome) -> None:
    roots = [Path(root) for root in home.environment()["PYTHONPATH"].split(os.pathsep)]
    assert roots == [PROJECT / "include", PROJECT / "plugins"]
    assert (PROJECT / "pyproject.toml").is_file()


def test_settings_of_another_airflow_and_a_real_key_are_not_passed_on() -> None:
    given = {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW_HOME": "/elsewhere",
        "AIRFLOW_CONN_WAREHOUSE": "postgres://real",
        "PYTHONPATH": "/project",
        "PYTHONDONTWRITEBYTECODE": "1",
        "GREENNODE_API_KEY": "real",
        "LANG": "C.UTF-8",
    }
    assert inherited_environment(given) == {"LANG": "C.UTF-8"}


def test_connections_are_in_the_json_form_of_airflow(home: AirflowHome) -> None:
    assert msgspec.json.decode(home.environment()["AIRFLOW_CONN_GREENNODE_DEFAULT"]) == CONNECTION


def test_the_server_is_bound_to_the_loopback_address_and_sends_no_usage_data(home: AirflowHome) -> None:
    environment = home.environment()
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] == "False"
    assert environment["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"


def test_given_settings_win(home: AirflowHome) -> None:
    assert home.environment()["AIRFLOW__GREENNODE__STAGING"] == "file:///staging"


def test_no_secret_shows_in_the_repr(home: AirflowHome) -> None:
    hidden = ["hidden", "a-key", *asdict(home.credentials).values()]
    assert not [secret for secret in hidden if secret in repr(home)]


def test_the_login_file_is_private_and_holds_the_generated_password(home: AirflowHome) -> None:
    home.prepare()
    path = Path(home.environment()["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    assert msgspec.json.decode(path.read_bytes()) == {"admin": home.credentials.admin_password}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
