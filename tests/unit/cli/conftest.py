"""A command line over a small table, a prompt, and a job file."""

import sqlite3
from contextlib import closing

import pytest

from greennode_batch.cli.command_line import main

JOB_FILE = """
from typing import Literal

from pydantic import BaseModel

from greennode_batch.job import BatchJob, SqlSource, SqlTarget


class Label(BaseModel):
    mood: Literal["good", "bad"]
    words: list[str]
    score: float | None = None


LABELS = BatchJob(
    name="labels",
    source=SqlSource(conn_id="warehouse", sql="SELECT id, text FROM notes WHERE id < :most", parameters={"most": 9}),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{ text }}",
    answer=Label,
    params={"max_tokens": 200},
    target=SqlTarget(conn_id="warehouse", table="labels"),
)
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Twelve notes, as a table that a connection in the environment has, and as a file of CSV."""
    rows = [(number, f"note {number}") for number in range(1, 13)]
    with closing(sqlite3.connect(tmp_path / "warehouse.db")) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER, text TEXT)")
        connection.executemany("INSERT INTO notes VALUES (?, ?)", rows)
        connection.commit()
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", f"sqlite:///{tmp_path}/warehouse.db")
    (tmp_path / "notes.csv").write_text("".join(f"{one},{two}\n" for one, two in [("id", "text"), *rows]))
    (tmp_path / "prompt.md").write_text("{{ text }}")
    (tmp_path / "job.py").write_text(JOB_FILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(table, emulator, monkeypatch, quick_polls):
    """Runs a command in the folder of the table: (name, words of its options) -> exit code."""
    monkeypatch.setenv("GREENNODE_API_KEY", emulator.api_key)
    server = ["--base-url", emulator.base_url, "--canary", "0"]
    of_command = {"run": [*server, "--staging", "staging"], "try": server}

    def run(name, *words, job=("--job", "job.py")):
        return main([name, *job, *of_command.get(name, []), *words])

    return run
