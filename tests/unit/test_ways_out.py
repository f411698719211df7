"""No message names an option, a field, a task, a setting or a page that does not exist where the message is read.

The ways out are taken from the texts of errors and log lines in the code, and looked up in what there is: the options
of the commands, the fields of declarations, connections and forms, the tasks of a pipeline, and the files of the docs.
"""

import ast
import dataclasses
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from greennode_airflow import get_provider_info
from greennode_batch import job
from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.throttle.limits import Limits
from greennode_batch.cli.command_line import command_parsers
from greennode_batch.cli.job_options import given_by_options
from greennode_batch.job.columns import OWNER_COLUMNS, RESULT_COLUMNS
from greennode_batch.state.row_status import RowStatus

PROJECT = Path(__file__).parents[2]
ENGINE, PROVIDER = PROJECT / "include" / "greennode_batch", PROJECT / "plugins" / "greennode_airflow"
SENTENCE = re.compile(r"[A-Za-z]+ [a-z]+ [a-z]+")
LOGGED = {"debug", "info", "warning", "error", "exception"}

PARSERS = command_parsers()
OPTIONS = {option for parser in PARSERS.values() for option in given_by_options(parser).values()}
# Fields that an option of `run` gives: an engine's message names them by `given_by`.
BY_OPTION = set(given_by_options(PARSERS["run"])) - {"help"}
CLASSES = [getattr(job, name) for name in job.__all__ if dataclasses.is_dataclass(getattr(job, name))]
DECLARED = {field.name for kind in CLASSES for field in dataclasses.fields(kind)}
CONNECTION = {
    *get_provider_info()["connection-types"][0]["conn-fields"],
    *ApiProfile.__dataclass_fields__,
    *Limits.__struct_fields__,
}
SETTINGS = set(get_provider_info()["config"]["greennode"]["options"])
TASKS = {
    "build_requests", "read_part", "approve_spend", "submit_batch", "wait_for_batch", "collect_results",
    "join_results", "report", "clean_up",
}  # fmt: skip
# Words of the API's requests, of Jinja, and of other things that a message may speak of.
OTHERS = {
    "max_tokens", "max_completion_tokens", "response_format", "tool_calls", "finish_reason", "custom_id",
    "input_file_id", "batch_id", "file_id", "data_url", "greennode_batch", "greennode_airflow", "batch_discount",
}  # fmt: skip
KNOWN = DECLARED | CONNECTION | SETTINGS | TASKS | OTHERS | {*RESULT_COLUMNS, *OWNER_COLUMNS, *RowStatus}
# Ways out that a message gives beside options: where an engine's message may name a field as it is declared, and why.
AS_DECLARED = {
    "plan/approval.py": "only Airflow asks a person",
    "job/budget.py": "approve_over is of jobs alone, and stands beside it",
    "retry/build_retry.py": "what a row says in the target, whoever wrote it",
    "state/plan.py": "only Airflow removes staging",
}


# What the provider's operators and sensors take.
ARGUMENTS = {
    argument.arg
    for path in PROVIDER.rglob("*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    for argument in node.args.kwonlyargs
}


class Message(NamedTuple):
    """A text that a person reads; expressions in it are `{}`, but for what `given_by` says."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def text_of(node: ast.AST) -> str:
    """The text of an expression of texts; an expression in it is `{}`."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return ""


def name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def messages_in(root: Path) -> Iterator[Message]:
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for statement in tree.body:  # sentences that several messages end with
            if isinstance(statement, ast.Assign) and SENTENCE.match(text := text_of(statement.value)):
                yield Message(path.relative_to(root).as_posix(), statement.lineno, text)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = name_of(node.func)
            if name.endswith(("Error", "Exception")) or (isinstance(node.func, ast.Attribute) and name in LOGGED):
                text = text_of(node.args[0])
                if text:
                    yield Message(path.relative_to(root).as_posix(), node.lineno, text)


def given_in(root: Path) -> Iterator[tuple[str, str]]:
    """The fields that messages name by `given_by`, with their files."""
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and name_of(node.func) == "given_by"
                and isinstance(node.args[0], ast.Constant)
            ):
                yield path.relative_to(root).as_posix(), node.args[0].value


ENGINE_MESSAGES = list(messages_in(ENGINE))
MESSAGES = [*ENGINE_MESSAGES, *messages_in(PROVIDER)]


def test_messages_are_found():
    assert len(MESSAGES) > 300
    assert sum(1 for _ in given_in(ENGINE)) > 30


@pytest.mark.parametrize("message", [one for one in MESSAGES if "--" in one.text], ids=str)
def test_an_option_exists_and_is_named_only_where_the_command_line_speaks(message):
    named = re.findall(r"--[a-z][a-z-]+", message.text)
    assert set(named) <= OPTIONS
    is_of_command = message.file.startswith("cli") or message.file == "source/sql_connection.py"
    assert not named or is_of_command, "name it by given_by: Airflow has no options"


def test_a_field_that_an_option_gives_is_named_as_the_command_has_it():
    """`format=`, `(max_cost)`: on the command line there is no such thing."""
    named = [
        str(message)
        for message in ENGINE_MESSAGES
        if message.file not in AS_DECLARED and not message.file.startswith(("cli", "probe", "analysis"))
        if BY_OPTION & {*re.findall(r"\b([a-z_]+)=", message.text), *re.findall(r"\(([a-z_]+)\)", message.text)}
    ]
    assert named == []


def test_what_is_given_by_an_option_or_a_field_is_one():
    of_commands = {name for parser in PARSERS.values() for name in given_by_options(parser)}
    given = {*given_in(ENGINE), *given_in(PROVIDER)}
    assert {(file, field) for file, field in given if field not in DECLARED | CONNECTION | of_commands} == set()


def names_in(message: Message) -> set[str]:
    words = re.sub(r"\{\}|%\([a-z_]+\)|https?://\S+|[\w./]*/[\w./]*|\[[a-z]+\]", " ", message.text)
    return set(re.findall(r"(?<![\w.{\"'-])[a-z]+(?:_[a-z]+)+(?![\w.(])", words))


def test_names_in_messages_are_of_something_that_there_is():
    unknown = {str(message): names for message in MESSAGES if (names := names_in(message) - KNOWN - ARGUMENTS)}
    assert unknown == {}


@pytest.mark.parametrize("message", [one for one in MESSAGES if re.search(r"docs/|include/|dags/", one.text)], ids=str)
def test_a_file_that_a_message_points_to_is_there(message):
    for path in re.findall(r"\b(?:docs|include|dags)/[\w./-]*\w", message.text):
        assert (PROJECT / path).exists()


@pytest.mark.parametrize("message", [one for one in MESSAGES if "[greennode]" in one.text], ids=str)
def test_a_setting_that_a_message_names_exists(message):
    assert set(re.findall(r"\[greennode\] ([a-z_]+)", message.text)) <= SETTINGS


def test_every_command_says_which_option_gives_a_field():
    for name, parser in PARSERS.items():
        assert inspect.isfunction(pkgutil.resolve_name(parser.get_default("command"))), name
        assert parser.get_default("parser") is parser
