"""Prompt files: what a prompt that lies in a file includes, imports or extends, of that file's folder alone.

All texts are read once, so that what is rendered is what was hashed.
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
from greennode_batch.request.prompt_environment import ENVIRONMENT, syntax_errors

_Reference = nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends


class PromptText(msgspec.Struct, frozen=True):
    """A template that needs other files. name: its own in its folder. files: their texts, by their names there."""

    name: str
    text: str
    files: dict[str, str]

    def followed_by(self, text: str) -> PromptText:
        """The same with more after it; in a template that extends another one that would be dropped."""
        whole = f"{{% include {self.name!r} %}}{text}"
        return PromptText("", whole, {**self.files, self.name: self.text})


def read_prompt(said: str, *, name: str) -> str | PromptText:
    """A template as a job says it: itself, or the name of a file below `include/jobs`.

    name: what the template is called in errors. Raises ConfigError for what is no Jinja, and for a file that is
    missing, lies outside of the prompt's folder or is named by an expression.
    """
    text, path = find_job_text(said)
    waiting = _referred(text, name)
    if not waiting:
        return text
    if path is None:
        raise ConfigError(
            f"{name}: names the file {waiting[0]}; only a prompt that the job names as a file below include/jobs, such "
            "as JOB/prompt.md, has a folder to take others from. Write the file's text into the prompt"
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
    """The names that a template and the files that see its context take from the row: its columns, if they are any.

    Raises ConfigError, with the line, for what is no Jinja. name: what the template is called there.
    """
    waiting, files = ([text.text], text.files) if isinstance(text, PromptText) else ([text], {})
    names: set[str] = set()
    seen: set[str] = set()
    while waiting:
        with syntax_errors(name):
            syntax = ENVIRONMENT.parse(waiting.pop())
            names |= meta.find_undeclared_variables(syntax)
        # A column may be called like one of Jinja's own functions.
        names |= {node.name for node in syntax.find_all(nodes.Name)} & ENVIRONMENT.globals.keys()
        for node in _references(syntax):
            file = _file_of(node, name)
            if getattr(node, "with_context", True) and file not in seen:
                seen.add(file)
                waiting.append(text_of(file, files, name))
    return frozenset(names)


def text_of(file: str, files: Mapping[str, str], name: str) -> str:
    """The text of a file that a template names. Raises ConfigError if it is none of those that were read."""
    if file not in files:
        raise ConfigError(f"{name}: the file {file} was not read; only a prompt that lies in a file can name others")
    return files[file]


class _Template(jinja2.Template):
    """A template whose module is made anew each time that it is imported, or included without the row.

    Jinja keeps the first one, and with it what a macro has told a `namespace` there: of a row before.
    """

    def _get_default_module(self, ctx: Context | None = None) -> TemplateModule:
        return self.make_module()


def environment_of(files: Mapping[str, str]) -> jinja2.Environment:
    """The environment of a template that names these files."""
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
        f'{name}, line {node.lineno}: {{% {kind} %}} needs the name of one file, as {{% {kind} "rules.md" %}}: what a '
        "row says cannot choose a file"
    )
