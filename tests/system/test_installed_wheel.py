"""The wheel in a plain Airflow, without this repository: it installs, registers, and runs the README's own DAG."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.nightly, pytest.mark.timeout(1800)]
PROJECT = Path(__file__).parents[2]
# The oldest and the newest version that is supported, and what stands for Airflow's own file of constraints.
CONSTRAINTS = {"3.2.2": "requirements-airflow-3.2.2.txt", "3.3.2": "requirements.txt"}
README_DAG = re.search(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)[1]
KEY = "sk-of-the-emulator"
Run = Callable[..., str]


@pytest.fixture(scope="module", params=CONSTRAINTS)
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new environment with Airflow and the wheel, and nothing else of the project."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], check=True, cwd=PROJECT
    )
    (wheel,) = folder.glob("*.whl")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
    bin_folder = folder / "venv" / "bin"
    subprocess.run(
        [
            uv, "pip", "install", "--quiet", "--python", bin_folder / "python",
            "--constraints", PROJECT / CONSTRAINTS[request.param],
            f"apache-airflow=={request.param}", wheel,
        ],
        check=True, cwd=folder,
    )  # fmt: skip
    return bin_folder


@pytest.fixture(scope="module")
def emulator(installed: Path) -> Iterator[str]:
    """The emulator of the wheel; its base URL."""
    command = [installed / "python", "-m", "greennode_emulator", "--port", "0", "--api-key", KEY]
    with subprocess.Popen(
        [*command, "--batch-seconds", "0.5"], stdout=subprocess.PIPE, text=True, cwd=installed, env={"PATH": ""}
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


@pytest.fixture(scope="module")
def run(installed: Path, emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a program of that environment, with a new home of Airflow; what it printed."""
    home = tmp_path_factory.mktemp("airflow")
    connection = {"conn_type": "greennode", "host": emulator, "password": KEY}
    environment = {
        "PATH": f"{installed}:{os.environ['PATH']}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_GREENNODE_DEFAULT": json.dumps(connection),
        "AIRFLOW_CONN_WAREHOUSE": json.dumps({"conn_type": "sqlite", "host": str(home / "warehouse.db")}),
    }

    def program(name: str, *arguments: str) -> str:
        done = subprocess.run(
            [installed / name, *arguments], capture_output=True, text=True, check=False, cwd=home, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (home / "dags").mkdir()
    (home / "dags" / "reviews.py").write_text(README_DAG)
    program("airflow", "db", "migrate")
    return program


def test_airflow_lists_the_provider_and_the_plugin(run: Run) -> None:
    providers = json.loads(run("airflow", "providers", "list", "--output", "json"))
    assert [one["package_name"] for one in providers].count("greennode-airflow") == 1
    assert "greennode" in run("airflow", "plugins", "--output", "json")


def test_the_connection_form_has_the_providers_fields(run: Run) -> None:
    hooks = json.loads(run("airflow", "providers", "hooks", "--output", "json"))
    assert "greennode" in [one["connection_type"] for one in hooks]
    widgets = json.loads(run("airflow", "providers", "widgets", "--output", "json"))
    assert [one for one in widgets if "greennode" in one["connection_parameter_name"] and "profile" in str(one)]


def test_the_dag_of_the_readme_turns_a_table_into_a_table(run: Run) -> None:
    home = Path(run("python", "-c", "import os; print(os.environ['AIRFLOW_HOME'])").strip())
    with sqlite3.connect(home / "warehouse.db") as warehouse:
        warehouse.execute("CREATE TABLE reviews (id INTEGER PRIMARY KEY, body TEXT)")
        warehouse.executemany("INSERT INTO reviews VALUES (?, ?)", [(1, "Good."), (2, "Too dear."), (3, "It broke.")])
    run("airflow", "dags", "reserialize")
    run("airflow", "dags", "test", "reviews")
    with sqlite3.connect(home / "warehouse.db") as warehouse:
        rows = warehouse.execute("SELECT id, sentiment, status FROM review_labels ORDER BY id").fetchall()
    assert [(row[0], row[2]) for row in rows] == [(1, "succeeded"), (2, "succeeded"), (3, "succeeded")]
    assert {row[1] for row in rows} <= {"good", "bad", "mixed"}


def test_the_command_line_and_the_manual_are_there(run: Run) -> None:
    assert "preview" in run("greennode-batch", "--help")
    text = "from greennode_airflow.ui.manual import manual_files; print(*manual_files())"
    assert "how-to/symptoms.md" in run("python", "-c", text)
