"""Job texts: queries and prompts, written in a job or in files below `include/jobs`."""

from __future__ import annotations

import re
from pathlib import Path

from greennode_batch.errors import ConfigError

JOBS_FOLDER = Path(__file__).parents[2] / "jobs"
"""Where `source.sql` and `prompt.md` are looked for: `include/jobs`, beside the engine."""

_FILE_ENDINGS = (".sql", ".md", ".txt", ".j2", ".jinja")


def find_job_text(text: str, *, folder: Path = JOBS_FOLDER) -> tuple[str, Path | None]:
    """The text itself, or the content of the file that it names below `folder`, and that file.

    A text is a file's name if it is one line without spaces that ends in .sql, .md, .txt, .j2 or .jinja.
    Raises ConfigError for a file that is missing or lies outside of the folder.
    """
    if not text.endswith(_FILE_ENDINGS) or re.search(r"\s", text):
        return text, None
    return read_below(folder, text, of="jobs folder"), folder / text


def read_job_text(text: str, *, folder: Path = JOBS_FOLDER) -> str:
    """The same without the file."""
    return find_job_text(text, folder=folder)[0]


def read_below(folder: Path, name: str, *, of: str) -> str:
    """The text of a file that lies below a folder, also once all links are followed. of: the folder, in words."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ConfigError(f"{name}: lies outside of the {of} {folder}; keep a job's files below it")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{name}: no such file below the {of} {folder}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: cannot be read as UTF-8 text below the {of} {folder} ({error})") from None
