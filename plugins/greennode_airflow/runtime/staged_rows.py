"""Staged rows: the rows that a function returned, as a Parquet file in staging."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from upath import UPath

from greennode_batch.frame.frame_kinds import frame_of, write_rows
from greennode_batch.staging.folders import land


def stage_rows(rows: Any, path: UPath) -> None:
    """Write rows to a file, whole. Raises ConfigError for what is not rows."""
    frame = frame_of(rows)
    with tempfile.TemporaryDirectory(prefix="greennode-rows-") as folder:
        made = Path(folder, "rows.parquet")
        write_rows(frame.columns(frame.names), made)
        land(made, path)
