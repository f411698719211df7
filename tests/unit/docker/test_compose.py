"""docker-compose.yaml and what it is started with, as far as it can be told without Docker."""

from __future__ import annotations

import re
import runpy
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[3]
COMPOSE = (PROJECT / "docker-compose.yaml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
ENDS = {"setup"}


def variables(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


EXAMPLE = variables(PROJECT / ".env.example")


@pytest.fixture
def make_env(tmp_path: Path) -> Callable[[], int]:
    """docker/make_env.py, in a folder of its own."""
    (tmp_path / ".env.example").write_bytes((PROJECT / ".env.example").read_bytes())
    main = runpy.run_path(str(PROJECT / "docker" / "make_env.py"))["main"]
    main.__globals__["PROJECT"] = tmp_path
    return main


def test_every_variable_of_the_compose_file_is_explained_in_the_example() -> None:
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE)) <= set(EXAMPLE)


def test_no_secret_has_a_value_that_anybody_knows() -> None:
    secrets = [name for name in EXAMPLE if re.search(r"KEY|PASSWORD|SECRET", name)]
    assert len(secrets) >= 7
    assert not [name for name in secrets if EXAMPLE[name]]
    assert not re.findall(r"\$\{\w*(?:KEY|PASSWORD|SECRET):?-", COMPOSE)


def test_nothing_listens_beyond_this_machine() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_limited_and_tells_whether_it_is_well(name: str) -> None:
    service = SERVICES[name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert name in ENDS or service["healthcheck"]["test"]


def test_the_emulator_has_none_of_the_other_services_secrets() -> None:
    assert set(SERVICES["emulator"]["environment"]) == {"GREENNODE_EMULATOR_API_KEY"}


def test_each_secret_is_made_once_and_read_by_its_owner_alone(make_env: Callable[[], int], tmp_path: Path) -> None:
    assert make_env() == 0
    made = variables(tmp_path / ".env")
    assert set(made) == set(variables(PROJECT / ".env.example"))
    secrets = [made[name] for name in made if re.search(r"KEY|PASSWORD|SECRET", name)]
    assert min(map(len, secrets)) >= 32
    assert len(set(secrets)) == len(secrets)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert make_env() == 1, "what is there stays"
    assert variables(tmp_path / ".env") == made


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_has_no_right_that_it_does_not_use(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert name == "postgres" or "cap_add" not in service


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_image_is_of_one_exact_version(name: str) -> None:
    assert re.fullmatch(r"[\w/-]+:(\d+\.\d+(\.\d+)?|local)", SERVICES[name]["image"])


def test_only_what_runs_tasks_and_answers_the_page_has_the_key() -> None:
    holding = {name for name, service in SERVICES.items() if "GREENNODE_API_KEY" in str(service)}
    assert holding == {"api-server", "triggerer", "worker", "emulator"}
