"""Imports a Python file named on the command line, for what it declares."""

from __future__ import annotations

import importlib.util
import logging
import sys
import traceback
from pathlib import Path
from types import ModuleType

from greennode_batch.errors import ConfigError


def import_file(path: Path) -> ModuleType:
    """The module of a file. Modules beside it can be imported from it, as in Airflow's folder of DAGs.

    Raises ConfigError, with the line, if the file cannot be imported.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. Nothing was sent")
    # Not under the file's name, which may be that of a package.
    name = f"greennode_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where Pydantic looks up annotations
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        way_out = "install it here"
        if (error.name or "").partition(".")[0] in {"airflow", "greennode_airflow"}:
            way_out = "a DAG file needs it here too: pip install greennode-airflow"
        raise ConfigError(
            f"{path}{_line(error, path)}: needs {error.name}, which is not installed; {way_out}. Nothing was sent"
        ) from None
    except ConfigError as error:
        raise ConfigError(f"{path}{_line(error, path)}: {error}") from None
    except Exception as error:
        raise ConfigError(
            f"{path}{_line(error, path)}: cannot be imported: {type(error).__name__}: {error}. Nothing was sent"
        ) from error
    finally:
        # Airflow takes over the log when it is imported.
        root.handlers[:] = handlers
        root.setLevel(level)
    return module


def _line(error: BaseException, path: Path) -> str:
    """The line of the file at which it failed."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}" if error.filename == str(path) else ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""
