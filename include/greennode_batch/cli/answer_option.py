"""The answer model that --answer names: a Pydantic class, or a JSON schema."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel

from greennode_batch.answers.schema_model import model_of_schema
from greennode_batch.cli.python_file import import_file
from greennode_batch.errors import ConfigError


def answer_model(words: str) -> type[BaseModel]:
    """The model of `package.module:Class`, `FILE.py:Class` or `FILE.json`. Raises ConfigError if there is none."""
    if words.endswith(".json"):
        return _model_of_file(Path(words))
    index, _, name = words.rpartition(":")
    if not index or not name:
        raise ConfigError(
            f"--answer {words}: write package.module:Class, FILE.py:Class or, for a JSON schema, FILE.json. Nothing "
            "was sent"
        )
    module = import_file(Path(index)) if index.endswith(".py") else _imported(index)
    found = getattr(module, name, None)
    if not isinstance(found, type) or not issubclass(found, BaseModel):
        models = [
            own for own, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == module.__name__
        ]  # fmt: skip
        has = f"it has {', '.join(models)}" if models else "it has none"
        raise ConfigError(f"--answer {words}: {index} has no Pydantic model {name}; {has}. Nothing was sent")
    return found


def _imported(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # the folder in which the command is started
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"--answer: the module {name} cannot be imported ({error}). Nothing was sent") from None


def _model_of_file(path: Path) -> type[BaseModel]:
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Nothing was sent") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON ({error}). Nothing was sent") from None
    try:
        return model_of_schema(schema, name=path.stem)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}. Nothing was sent") from None
