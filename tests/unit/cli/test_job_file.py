"""The job that a Python file declares."""

import logging
from pathlib import Path

import pytest

from greennode_batch.cli.job_file import load_job
from greennode_batch.errors import ConfigError

DAGS = Path(__file__).parents[3] / "dags"
TWO = """
from greennode_batch.job import BatchJob, FileSource, FileTarget

def of(name):
    return BatchJob(name=name, source=FileSource(path="in.csv"), key="id", model="m", prompt="{{ text }}",
                    target=FileTarget(path="out/"))

FIRST = of("one")
SAME = FIRST
class Dag:
    tasks = [type("Task", (), {"job": of("two")})()]
dag = Dag()
"""


@pytest.fixture
def file(tmp_path):
    def make(text):
        (tmp_path / "jobs.py").write_text(text)
        return str(tmp_path / "jobs.py")

    return make


@pytest.mark.parametrize(("name", "found"), [("FIRST", "one"), ("one", "one"), ("two", "two"), ("SAME", "one")])
def test_a_job_is_named_by_its_variable_or_its_own_name_also_where_only_a_dag_has_it(file, name, found):
    assert load_job(f"{file(TWO)}:{name}").name == found


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (TWO, "", r"declares 3 jobs, FIRST, SAME, two; name one: --job .*jobs\.py:FIRST"),
        (TWO, ":FRIST", r"declares no job 'FRIST'; did you mean 'FIRST' of FIRST, SAME, two"),
        ("x = 1", "", r"jobs\.py: declares no BatchJob"),
        ("import no_such_thing", "", r"jobs\.py, line 1: needs no_such_thing, which is not installed; install it here"),
        ("\n1 / 0", "", r"jobs\.py, line 2: cannot be imported: ZeroDivisionError"),
        ("\nx = (", "", r"jobs\.py, line 2: cannot be imported: SyntaxError"),
        (
            "from greennode_batch.job import FileSource\nFileSource(pth='x')",
            "",
            r"jobs\.py, line 2: FileSource: there is no field 'pth'; did you mean 'path'",
        ),
    ],
)
def test_what_declares_none_or_several_says_the_way_out(file, text, name, words):
    with pytest.raises(ConfigError, match=words):
        load_job(f"{file(text)}{name}")


def test_without_airflow_a_dag_file_says_what_to_install(file, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "airflow.sdk", None)
    with pytest.raises(
        ConfigError, match=r"line 1: needs airflow.sdk, which is not installed; .*pip install greennode-"
    ):
        load_job(file("from airflow.sdk import DAG"))


@pytest.mark.parametrize("words", ["dags", "job.json", "x.py:"])
def test_what_is_no_python_file_is_refused(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no such file|name a Python file|declares no job"):
        load_job(words)


def test_a_dag_file_of_the_project_declares_its_job_and_leaves_the_log_alone():
    handlers = logging.getLogger().handlers[:]
    job = load_job(str(DAGS / "support_tickets.py"))
    assert (job.name, job.answer.__name__) == ("support_tickets", "TicketLabel")
    assert logging.getLogger().handlers == handlers
