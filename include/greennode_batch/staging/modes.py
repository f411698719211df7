"""Modes: who may read what lies in staging on local disk: requests, answers and the source's columns, in clear.

This user alone (files 0600, folders 0700), but where the umask keeps nothing from the group (0007 or 0002): then the
workers of one group share it (0660, 0770). Nobody else, whatever the umask.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

_STATUS = Path("/proc/self/status")
_UMASK_LINE = re.compile(rb"^Umask:\s*([0-7]+)", re.MULTILINE)
_GROUP = 0o070
_asking = threading.Lock()


def file_mode() -> int:
    """Of a file of staging."""
    return folder_mode() & 0o666


def folder_mode() -> int:
    """Of a folder of staging."""
    umask = _umask()
    return (0o700 if umask & _GROUP else 0o770) & ~umask


def make_folder(folder: Path) -> None:
    """Make a folder of staging and those above it that are missing."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=folder_mode(), exist_ok=True)


def _umask() -> int:
    # Linux tells it; elsewhere it has to be set to be read, which other threads would notice.
    found = _UMASK_LINE.search(_STATUS.read_bytes()) if _STATUS.exists() else None
    if found is not None:
        return int(found[1], 8)
    with _asking:
        umask = os.umask(0o077)
        os.umask(umask)
    return umask
