"""Page templates: Jinja with HTML escaping, and the number formats of pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.job.texts import JOBS_FOLDER
from greennode_batch.staging.folders import write_whole

_OWN_FOLDERS = (Path(__file__).parent, Path(__file__).parents[1] / "evaluation")
_MINUTE, _HOUR = 60, 3600
_UNKNOWN = "\N{EN DASH}"


def render_page(template: str, *, jobs_folder: Path = JOBS_FOLDER, **values: Any) -> str:
    """Render a template with these values. template: one of the engine's, or a file below `include/jobs`.

    Raises ConfigError if the template is missing or wrong, with the file and, for a syntax error, the line.
    """
    try:
        return _environment(jobs_folder).get_template(template).render(**values)
    except jinja2.TemplateNotFound as error:
        raise ConfigError(f"{error.name}: no such template below the jobs folder {jobs_folder}") from None
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"{error.name}, line {error.lineno}: {error.message}") from None
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise ConfigError(f"{template}: {error}") from error


def write_page(page: str, path: UPath) -> None:
    """Write a page into staging. The file lands whole."""
    write_whole(path, page.encode())


def _environment(jobs_folder: Path) -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        # Texts of models and customers must never become HTML.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader([*_OWN_FOLDERS, jobs_folder]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number, "duration": duration, "short_model": short_model}
    return environment


def percent(share: float | None, digits: int = 0) -> str:
    """Format a share: `87 %`; a dash for None."""
    return _UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def number(value: float | None, digits: int = 0) -> str:
    """Format a number: `12,345`, with `digits` decimals; a dash for None."""
    return _UNKNOWN if value is None else f"{value:,.{digits}f}"


def duration(seconds: float | None) -> str:
    """Format a duration: `42 s`, `12 min`, `3.5 h`; a dash for None."""
    if seconds is None:
        return _UNKNOWN
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE:.0f} min" if seconds < 2 * _HOUR else f"{seconds / _HOUR:.1f} h"


def short_model(model: str) -> str:
    """The model's name without its owner: `org/model` becomes `model`."""
    return model.rpartition("/")[2]
