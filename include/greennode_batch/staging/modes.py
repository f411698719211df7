"""Modes: who may read staging on local disk, which has requests, answers and source columns in plain text.

Only the current user (files 0600, folders 0700). If the umask leaves all rights to the group (0007 or 0002), the
workers of one group share staging (0660, 0770). Others never have access, whatever the umask.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from greennode_batch.errors import ConfigError

_STATUS = Path("/proc/self/status")
_UMASK_LINE = re.compile(rb"^Umask:\s*([0-7]+)", re.MULTILINE)
_GROUP = 0o070
_asking = threading.Lock()


def file_mode() -> int:
    """The mode of a file in staging."""
    return folder_mode() & 0o666


def folder_mode() -> int:
    """The mode of a folder in staging."""
    umask = _umask()
    return (0o700 if umask & _GROUP else 0o770) & ~umask


def make_folder(folder: Path) -> None:
    """Create a folder in staging and its missing parents. Raises ConfigError if one of them is a file."""
    if not folder.is_dir():
        if folder.is_file():
            raise ConfigError(f"{folder}: is a file, where a folder is needed; name another one. Nothing was sent")
        make_folder(folder.parent)
        folder.mkdir(mode=folder_mode(), exist_ok=True)


def _umask() -> int:
    # Linux reports the umask. Elsewhere it can only be read by setting it, which affects other threads.
    found = _UMASK_LINE.search(_STATUS.read_bytes()) if _STATUS.exists() else None
    if found is not None:
        return int(found[1], 8)
    with _asking:
        umask = os.umask(0o077)
        os.umask(umask)
    return umask
