"""Every snippet and every command of the README and of docs/ is one that works.

A Python snippet is run, as far as a DAG file runs when it is parsed; a command is read by the parser of its program; a
setting is one that Airflow has. Whole examples run in the tests of their pages: `RUN_ELSEWHERE`.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from airflow.cli.cli_parser import get_parser
from airflow.configuration import conf
from markdown_it import MarkdownIt
from opentelemetry import environment_variables
from opentelemetry.sdk import environment_variables as sdk_variables

from greennode_airflow import get_provider_info
from greennode_airflow.pipeline import batch_table
from greennode_batch import job
from greennode_batch.api.profile import ApiProfile
from greennode_batch.cli.command_line import command_parsers
from greennode_emulator.__main__ import parse_arguments

PROJECT = Path(__file__).parents[2]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]
MAKEFILE = (PROJECT / "Makefile").read_text()
PACKAGING = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text())["services"]
METRIC_NAMES = {one["name"] for one in yaml.safe_load((PROJECT / "docker/statsd-mapping.yaml").read_text())["mappings"]}
# Whole examples, and the tests that run them.
RUN_ELSEWHERE = {
    "docs/tutorials/first-job.md": "tests/dags/test_first_job.py",
    "docs/how-to/dialects.md": "tests/unit/probe/test_dialects_page.py",
    "docs/reference/command-line.md": "tests/unit/docs/test_command_line.py",
    "docs/how-to/dataframes.md": "tests/unit/docs/test_dataframes.py",
    "docs/how-to/taskflow.md": "tests/dags/test_taskflow_page.py",
    "docs/tutorials/pipeline.md": "tests/dags/test_daily_tickets.py",
    "docs/reference/airflow-versions.md": "tests/dags/test_bundles.py",
}
REAL = "api.vngcloud.vn"
# What a snippet need not import: the job that its page speaks of, and what declares one.
KNOWN = {
    "JOB": job.BatchJob(
        name="tickets",
        source=job.SqlSource(conn_id="warehouse", sql="SELECT 1 AS id"),
        key="id",
        model="google/gemma-4-31b-it",
        prompt="{{ id }}",
        target=job.SqlTarget(conn_id="warehouse", table="t"),
    ),
    "batch_table": batch_table,
    "timedelta": timedelta,
    **{name: getattr(job, name) for name in job.__all__},
}


class Snippet(NamedTuple):
    page: str
    line: int
    language: str
    text: str
    before: str
    """The text between the last heading and the snippet."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets() -> Iterator[Snippet]:
    markdown = MarkdownIt("commonmark").enable("table")
    for path in PAGES:
        text = path.read_text()
        for token in markdown.parse(text):
            if token.type in {"fence", "code_block"}:
                before = re.split(r"^#+ ", "\n".join(text.split("\n")[: token.map[0]]), flags=re.MULTILINE)[-1]
                page = path.relative_to(PROJECT).as_posix()
                yield Snippet(page, token.map[0] + 1, token.info, token.content, before)


SNIPPETS = list(snippets())


def of(language: str) -> Callable[[Any], Any]:
    found = [one for one in SNIPPETS if one.language == language]
    assert found, language
    return pytest.mark.parametrize("snippet", found, ids=str)


def test_every_snippet_says_what_it_is_and_is_checked_below() -> None:
    checked = {"sh", "python", "json", "ini", "promql", "yaml"}
    whole = {"sql", "jinja", "csv"}
    drawn_or_printed = {"text"}
    for one in SNIPPETS:
        assert one.language in checked | whole | drawn_or_printed, one
        assert one.language not in whole or one.page in RUN_ELSEWHERE, one
    assert all((PROJECT / test).is_file() for test in RUN_ELSEWHERE.values())


@of("python")
def test_a_python_snippet_runs(snippet: Snippet) -> None:
    elsewhere = RUN_ELSEWHERE["docs/how-to/dataframes.md"] if "enrich(" in snippet.text else None
    if elsewhere := RUN_ELSEWHERE.get(snippet.page, elsewhere):
        pytest.skip(elsewhere)
    exec(compile(snippet.text, str(snippet), "exec"), {"__name__": "snippet", **KNOWN})


@of("json")
def test_a_json_snippet_is_json_and_a_profile_is_one(snippet: Snippet) -> None:
    value = json.loads(snippet.text)
    if isinstance(value, dict) and "profile" in value:
        assert ApiProfile.from_extra(value) != ApiProfile()


@of("yaml")
def test_a_yaml_snippet_is_yaml(snippet: Snippet) -> None:
    assert yaml.safe_load(snippet.text)


@of("ini")
def test_a_setting_is_one_of_airflow_or_of_the_provider(snippet: Snippet) -> None:
    for line in snippet.text.splitlines():
        check_setting(line.partition("=")[0])


@of("promql")
def test_a_query_names_metrics_that_are_exported(snippet: Snippet) -> None:
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bgreennode_\w+", snippet.text)}
    assert named
    assert named <= METRIC_NAMES


def check_setting(name: str) -> None:
    if name.startswith("OTEL_"):
        assert hasattr(environment_variables, name) or hasattr(sdk_variables, name), name
        return
    _, section, option = (part.lower() for part in name.split("__"))
    own = get_provider_info()["config"].get(section)
    # A provider that is not installed here cannot say what it has.
    if section != "openlineage":
        assert option in own["options"] if own else conf.has_option(section, option), name


def check_make(words: list[str]) -> None:
    for word in words:
        name, _, value = word.partition("=")
        if value:
            assert f"$({name})" in MAKEFILE, word
            assert name != "JOB" or (PROJECT / "dags" / f"{value}.py").is_file(), word
        else:
            assert re.search(rf"^{word}:", MAKEFILE, re.MULTILINE), word


def check_own_command(words: list[str]) -> None:
    name, *options = words
    parser = command_parsers()[name]
    assert options == ["--help"] or parser.parse_args(options)


def check_python(words: list[str]) -> None:
    if words[:2] == ["-m", "greennode_emulator"]:
        parse_arguments(words[2:])
    else:
        check_paths(words)


def check_paths(words: list[str]) -> None:
    paths = [one.rpartition("=")[2].partition("::")[0] for one in words if "/" in one]
    assert paths
    assert [path for path in paths if not (PROJECT / path).exists()] == []


def check_compose(words: list[str]) -> None:
    assert words[:2] == ["compose", "up"]
    assert {one.partition("=")[0] for one in words if "=" in one} <= set(COMPOSE)


def check_pip(words: list[str]) -> None:
    extra = re.fullmatch(r"greennode-airflow\[(\w+)\]", words[-1])
    assert words[0] == "install"
    assert not extra or extra[1] in PACKAGING["optional-dependencies"]


def check_export(words: list[str]) -> None:
    assert all("=" in word for word in words)


PROGRAMS = {
    ".venv/bin/pytest": check_paths,
    "airflow": get_parser().parse_args,
    "docker": check_compose,
    "export": check_export,
    "greennode-batch": check_own_command,
    "make": check_make,
    # Model servers that others made.
    "ollama": len,
    "vllm": len,
    "pip": check_pip,
    "python": check_python,
    "python3": check_python,
    "statsd_exporter": check_paths,
}


@of("sh")
def test_a_command_is_one_that_its_program_reads(snippet: Snippet) -> None:
    if REAL in snippet.text:
        assert re.search(r"real account", snippet.before, re.IGNORECASE), "say that it needs a real account"
    for line in snippet.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words:
            PROGRAMS[words[0]](words[1:])
