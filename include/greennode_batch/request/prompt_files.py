"""Prompt files: the files that a prompt file includes, imports or extends, all from its own folder.

All files are read once, so that the text that is rendered is the text that was hashed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import jinja2
import msgspec
from jinja2 import meta, nodes
from jinja2.environment import TemplateModule
from jinja2.runtime import Context

from greennode_batch.errors import ConfigError
from greennode_batch.job.texts import find_job_text, read_below
from greennode_batch.request.prompt_environment import ENVIRONMENT, ROW, syntax_errors

_Reference = nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends


class PromptText(msgspec.Struct, frozen=True):
    """A template that refers to other files."""

    name: str
    """Its own file name in its folder."""
    text: str
    files: dict[str, str]
    """The texts of the other files, by their names in the folder."""

    def followed_by(self, text: str) -> PromptText:
        """Append text to the template.

        The template becomes an include, because a template that extends another one would ignore appended text.
        """
        whole = f"{{% include {self.name!r} %}}{text}"
        return PromptText("", whole, {**self.files, self.name: self.text})


def read_prompt(said: str, *, name: str) -> str | PromptText:
    """Read a template that a job gives as text or as the name of a file below `include/jobs`.

    name: the template's name in error messages.

    Raises ConfigError for invalid Jinja, and for a file that is missing, lies outside the prompt's folder or is named
    by an expression.
    """
    text, path = find_job_text(said)
    waiting = _referred(text, name)
    if not waiting:
        return text
    if path is None:
        raise ConfigError(
            f"{name}: names the file {waiting[0]}. Only a prompt that is itself a file below include/jobs, such as "
            "JOB/prompt.md, can use other files. Write the file's text into the prompt"
        )
    files: dict[str, str] = {}
    while waiting:
        file = waiting.pop()
        if file not in files:
            try:
                files[file] = read_below(path.parent, file, of="prompt's folder")
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None
            waiting += _referred(files[file], f"{name}: {file}")
    return PromptText(path.name, text, files)


def names_in(text: str | PromptText, *, name: str) -> frozenset[str]:
    """The names that a template takes from the row, including those in files that see its context.

    Each may be a column, and so may the names in `row["…"]`. name: the template's name in error messages. Raises
    ConfigError with the line for invalid Jinja.
    """
    waiting, files = ([text.text], text.files) if isinstance(text, PromptText) else ([text], {})
    names: set[str] = set()
    seen: set[str] = set()
    while waiting:
        with syntax_errors(name):
            syntax = ENVIRONMENT.parse(waiting.pop())
            names |= meta.find_undeclared_variables(syntax)
        names |= _names_behind_row(syntax)
        # A column may have the name of one of Jinja's own functions.
        names |= {node.name for node in syntax.find_all(nodes.Name)} & ENVIRONMENT.globals.keys()
        for node in _references(syntax):
            file = _file_of(node, name)
            if getattr(node, "with_context", True) and file not in seen:
                seen.add(file)
                waiting.append(text_of(file, files, name))
    return frozenset(names)


def column_behind_row(node: nodes.Node) -> str | None:
    """The name in `row["…"]` or `row.…`; None for any other expression."""
    match node:
        case nodes.Getitem(node=nodes.Name(name=name), arg=nodes.Const(value=str() as column)) if name == ROW:
            return column
        case nodes.Getattr(node=nodes.Name(name=name), attr=str() as column) if name == ROW:
            return column
    return None


def _names_behind_row(syntax: nodes.Template) -> set[str]:
    found = (column_behind_row(node) for node in syntax.find_all((nodes.Getitem, nodes.Getattr)))
    return {name for name in found if name is not None}


def text_of(file: str, files: Mapping[str, str], name: str) -> str:
    """The text of a file that a template refers to. Raises ConfigError if the file was not read."""
    if file not in files:
        raise ConfigError(f"{name}: the file {file} was not read; only a prompt file can refer to other files")
    return files[file]


class _Template(jinja2.Template):
    """A template whose module is created again for each import, and for each include without the row's context.

    Jinja would keep the first module, and with it what a macro stored in a `namespace` for an earlier row.
    """

    def _get_default_module(self, ctx: Context | None = None) -> TemplateModule:
        return self.make_module()


def environment_of(files: Mapping[str, str]) -> jinja2.Environment:
    """The environment of a template that refers to these files."""
    environment = ENVIRONMENT.overlay(loader=jinja2.DictLoader(files), auto_reload=False)
    environment.template_class = _Template
    return environment


def _referred(text: str, name: str) -> list[str]:
    with syntax_errors(name):
        syntax = ENVIRONMENT.parse(text)
    return [_file_of(node, name) for node in _references(syntax)]


def _references(syntax: nodes.Template) -> Iterator[_Reference]:
    yield from syntax.find_all(nodes.Extends)
    yield from syntax.find_all(nodes.Include)
    yield from syntax.find_all(nodes.Import)
    yield from syntax.find_all(nodes.FromImport)


def _file_of(node: _Reference, name: str) -> str:
    if isinstance(node.template, nodes.Const) and isinstance(node.template.value, str):
        return node.template.value
    kind = {nodes.Include: "include", nodes.Extends: "extends"}.get(type(node), "import")
    raise ConfigError(
        f'{name}, line {node.lineno}: {{% {kind} %}} needs the name of one file, such as {{% {kind} "rules.md" %}}; '
        "the values of a row cannot choose a file"
    )
