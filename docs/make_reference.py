"""Make the pages, and the tables in pages, whose facts are in the code.

    make docs

A field without a sentence in its class's docstring is an error, so that nothing goes undocumented.
"""
# ruff: noqa: T201 - this script's work is to print

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from greennode_airflow import get_provider_info
from greennode_airflow.ui.batch_states import BATCH_STATES
from greennode_airflow.ui.run_states import RUN_STATES
from greennode_airflow.ui.state_row import ACTIONS, Row
from greennode_airflow.ui.task_states import TASK_STATES
from greennode_batch import job, state
from greennode_batch.api.profile import ApiProfile
from greennode_batch.cli.command_line import command_parsers
from greennode_batch.state.document import Document

PROJECT = Path(__file__).parents[1]
_CLASSES = [getattr(job, name) for name in job.__all__ if dataclasses.is_dataclass(getattr(job, name))]
_FROM = "What a DAG file declares, all by name; what has no default must be given: `from greennode_batch.job import …`."
_CONNECTION = (
    "Of a connection of type GreenNode, beside the key (password) and the base URL (host). What the form does not have "
    "is given in its extra JSON."
)
_PROFILE = "Each field of an API profile can be given there too; `docs/dialects.md` explains them:"
_SETTINGS = "In `airflow.cfg` under `[greennode]`, or as `AIRFLOW__GREENNODE__…`."
_STAGING = """# Staging formats

<!-- Made from the code by `make docs`: change the docstrings, not this page. -->

Each run has a folder in staging (`docs/architecture.md` shows where). Its JSON documents carry the number of their
format in the field `format`; a document without one is of format 1. A version reads what the version before wrote, so
a run may be upgraded while its batches wait. A document of a format that it does not know is refused, with a sentence
that says what to do."""
_OTHER_FILES = """Beside them: `requests.jsonl` (a shard as it is uploaded), `source.<n>.parquet` (its rows: key,
carried columns, `custom_id`), `output.jsonl` and `errors.jsonl` (as downloaded), `anomalies.jsonl` (lines that settled
no request), `results.parquet` (one row per `custom_id`), `copied.parquet` (in place of results: what a target had
stored of rows that another one gets)."""
_OPTIONS = "<!-- What follows is made from the code by `make docs`: change the options' help, not this page. -->"
_STATES_BEGIN = "<!-- The states: made from the code by `make docs`. -->"
_STATES_END = "<!-- The end of the states. -->"
_FILLED_IN = re.compile(r"(\w?)\{(\w+)\}")
_STATES_HEAD = ("when", "badge", "what the page says", "what to do next", "what it offers")
_MADE = "<!-- Made from the code by `make docs`: change the docstrings, not this page. -->"


def main() -> int:
    """Write the pages."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"made {path.relative_to(PROJECT)}")
    return 0


def pages() -> dict[Path, str]:
    """The pages as they should be, by path."""
    return {
        PROJECT / "docs" / "job-reference.md": _job_reference(),
        PROJECT / "docs" / "staging-formats.md": _staging_page(),
        PROJECT / "docs" / "page.md": _page_of_states(PROJECT / "docs" / "page.md"),
        PROJECT / "DAGS.md": _dags_page(),
        (command_line := PROJECT / "docs" / "command-line.md"): _command_line_page(command_line),
    }


def _command_line_page(path: Path) -> str:
    """The page as it is, up to the options, and those as the parser has them."""
    parts = [path.read_text(encoding="utf-8").partition(_OPTIONS)[0].rstrip(), _OPTIONS]
    for name, parser in command_parsers().items():
        parts.append(f"## Options of `greennode-batch {name}`")
        rows = [
            (f"`{' '.join(filter(None, [one.option_strings[-1], _value_of(one)]))}`", one.help or "")
            for one in parser._actions  # noqa: SLF001 - argparse has no other way to ask
            if one.dest != "help"
        ]
        parts.append(_table(("option", "what it says"), rows))
    return "\n\n".join(parts) + "\n"


def _value_of(option: argparse.Action) -> str:
    if option.nargs == 0:
        return ""
    return "|".join(option.choices) if option.choices else str(option.metavar or option.dest.upper())


def _job_reference() -> str:
    parts = ["# Job reference", _MADE, _FROM]
    for kind in _CLASSES:
        parts += [f"## {kind.__name__}", *_class_page(kind)]
    options = get_provider_info()["config"]["greennode"]["options"]
    fields = get_provider_info()["connection-types"][0]["conn-fields"]
    parts += [
        "## The connection's fields",
        _CONNECTION,
        _table(("field", "what it says"), [(f"`{name}`", _said(one)) for name, one in fields.items()]),
        f"{_PROFILE} {', '.join(f'`{name}`' for name in ApiProfile.__dataclass_fields__)}.",
        "## Airflow's settings",
        _SETTINGS,
        _table(
            ("setting", "default", "what it says"),
            [(f"`{name}`", f"`{one['default']}`", one["description"]) for name, one in options.items()],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _class_page(kind: type) -> list[str]:
    head, said = _told(inspect.getdoc(kind) or "", [one.name for one in dataclasses.fields(kind)])
    silent = [one.name for one in dataclasses.fields(kind) if one.name not in said]
    if silent:
        raise SystemExit(f"{kind.__name__}: the docstring says nothing of {', '.join(silent)}")
    rows = [(f"`{one.name}`", _default(one), said[one.name]) for one in dataclasses.fields(kind)]
    return [head, _table(("argument", "default", "what it says"), rows)]


def _told(docstring: str, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """What a docstring says before it comes to the fields, and of each field: `name: text`, `name, other: text`."""
    text = re.sub(r"\s*\n\s*", " ", docstring.replace("\n\n", " ¶ "))
    word = "|".join(map(re.escape, names))
    marks = list(re.finditer(rf"(?:(?<=^)|(?<=[.;¶] ))((?:{word})(?:, (?:{word}))*): ", text))
    said: dict[str, str] = {}
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        words = text[mark.end() : following.start() if following else len(text)]
        words = re.sub(r"\s*¶\s*$", "", words.partition(" Raises ")[0]).replace(" ¶ ", " ").strip()
        for name in mark[1].split(", "):
            said[name] = words[0].upper() + words[1:]
    head = text[: marks[0].start()] if marks else text
    return head.replace("¶ ", "").replace("¶", "").strip(), said


def _default(one: dataclasses.Field[Any]) -> str:
    if one.default is not dataclasses.MISSING:
        return f"`{one.default!r}`"
    return "`{}`" if one.default_factory is not dataclasses.MISSING else ""


def _said(one: Mapping[str, Any]) -> str:
    return f"{one['label']}. {one.get('description', '')}".strip()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _staging_page() -> str:
    for module in pkgutil.iter_modules(state.__path__):
        importlib.import_module(f"{state.__name__}.{module.name}")
    rows = []
    for kind in sorted(Document.__subclasses__(), key=lambda one: str(one.__doc__)):
        file, _, said = re.sub(r"\s+", " ", inspect.getdoc(kind) or "").partition(": ")
        if not file.endswith(".json"):
            raise SystemExit(f"{kind.__name__}: its docstring does not begin with the name of its file")
        said = re.split(r"(?<=\.) |: ", said)[0].rstrip(".")
        module = kind.__module__.removeprefix("greennode_batch.").replace(".", "/")
        rows.append((f"`{file}`", str(kind.__struct_config__.tag), f"{said[0].upper()}{said[1:]}", f"`{module}.py`"))
    return "\n\n".join([_STAGING, _table(("file", "format", "what it is", "struct"), rows), _OTHER_FILES]) + "\n"


def _page_of_states(path: Path) -> str:
    """The page with its tables of states made again; what stands before and behind them stays."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(_STATES_BEGIN)
    _, end, behind = rest.partition(_STATES_END)
    if not begin or not end:
        raise SystemExit(f"{path}: has no place for the tables of states, {_STATES_BEGIN} to {_STATES_END}")
    parts: list[str] = []
    for title, table in {"Runs": RUN_STATES, "Tasks": TASK_STATES, "Batches": BATCH_STATES}.items():
        parts += [f"### {title}", _table(_STATES_HEAD, map(_state_line, table))]
    return f"{before}{begin}\n\n{chr(10).join(f'{part}{chr(10)}' for part in parts)}\n{end}{behind}"


def _state_line(row: Row[Any]) -> tuple[str, ...]:
    # What the page fills in stands in italics.
    words, next_step = (_FILLED_IN.sub(_in_italics, text) for text in (row.words, row.next_step))
    return row.when, row.badge, words, next_step, ", ".join(ACTIONS[action] for action in row.actions)


def _in_italics(field: re.Match[str]) -> str:
    return f"{field[1] and f'{field[1]} '}*{field[2].replace('_', ' ')}*"


def _dags_page() -> str:
    parts = ["# DAGs", _MADE, "What each DAG of `dags/` does, as its page in Airflow says."]
    for path in sorted((PROJECT / "dags").glob("*.py")):
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        title, _, rest = said.partition("\n")
        if not title.startswith("# "):
            raise SystemExit(f"{path}: its docstring does not begin with a title (# …)")
        parts += [f"## `{path.stem}`: {title.removeprefix('# ')}", rest.strip()]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
