"""Job texts: queries and prompts, written in the job itself or in files below `include/jobs`."""

from __future__ import annotations

import re
from pathlib import Path

from greennode_batch.errors import ConfigError

JOBS_FOLDER = Path(__file__).parents[2] / "jobs"
"""The folder of a job's text files, such as `source.sql` and `prompt.md`: `include/jobs`, beside the engine."""

_FILE_ENDINGS = (".sql", ".md", ".txt", ".j2", ".jinja")


def find_job_text(text: str, *, folder: Path = JOBS_FOLDER) -> tuple[str, Path | None]:
    """Return the text and None, or the content and path of the file that it names below `folder`.

    A text is a file name if it has no whitespace and ends in .sql, .md, .txt, .j2 or .jinja.
    Raises ConfigError for a file that is missing, outside the folder, or not UTF-8.
    """
    if not text.endswith(_FILE_ENDINGS) or re.search(r"\s", text):
        return text, None
    return read_below(folder, text, of="jobs folder"), folder / text


def read_job_text(text: str, *, folder: Path = JOBS_FOLDER) -> str:
    """Return the text, or the content of the file that it names below `folder`."""
    return find_job_text(text, folder=folder)[0]


def read_below(folder: Path, name: str, *, of: str) -> str:
    """Read a file below a folder; a link must not lead outside. of: what messages call the folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ConfigError(f"{name}: lies outside the {of} {folder}; keep a job's files below it")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{name}: no such file below the {of} {folder}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: cannot be read as UTF-8 text below the {of} {folder} ({error})") from None
