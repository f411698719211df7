"""The job of a command line: of --job, of the options, or of both."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path, PurePosixPath
from typing import Any

from greennode_batch.cli.answer_option import answer_model
from greennode_batch.cli.job_file import load_job
from greennode_batch.cli.job_options import given_by_options, text_of
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.budget import Budget
from greennode_batch.job.live_mode import Live
from greennode_batch.job.sources import FileSource, SqlSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.staging.folders import safe_name

# Options with the same name as the job's field.
_FIELDS = (
    "key", "carry", "model", "params", "samples", "answer", "canary", "attempts", "max_failed_ratio", "on_ambiguous",
    "keep_remote_files", "keep_reasoning", "refresh", "retry_final",
)  # fmt: skip
# What the options have by the same name as a source of files.
_FILE_FIELDS = ("format", "types", "delimiter", "quote", "escape", "encoding")


def declared_job(options: argparse.Namespace, *, out: str, partition_by: tuple[str, ...] = ()) -> BatchJob:
    """The job; out: where its answers go. Raises ConfigError if the options declare none."""
    declared = load_job(options.job) if options.job else None
    if options.answer is not None:
        options.answer = answer_model(options.answer)
    return job_of(options, declared, out=out, partition_by=partition_by)


def job_of(
    options: argparse.Namespace,
    declared: BatchJob | None = None,
    *,
    out: str,
    partition_by: tuple[str, ...] = (),
) -> BatchJob:
    """The job that the options declare. Raises ConfigError for a file that cannot be read.

    declared: the job of --job; every option that is given overrides it. out: where answers go.
    """
    changes = {name: value for name in _FIELDS if (value := getattr(options, name, None)) is not None}
    changes |= _question(options, declared)
    files = {name: value for name in _FILE_FIELDS if (value := getattr(options, name)) is not None}
    if options.source is not None:
        changes["source"] = FileSource(path=options.source, **files)
    elif files and declared is not None:
        changes["source"] = _as_declared(declared.source, files, options)
    if options.tokenizer is not None:
        changes["tokenizer"] = str(options.tokenizer.resolve())
    changes |= _live(options, declared)
    if options.limit is not None:
        # Rows after the first N have not left the source.
        changes["orphaned_rows"] = "ignore"
    changes["target"] = FileTarget(path=out, partition_by=partition_by)
    if declared is None:
        name = safe_name(PurePosixPath(options.source).stem)
        return BatchJob(name=name, budget=Budget(**_limits(options)), **changes)
    changes["budget"] = _budget(options, declared.budget or Budget())
    return dataclasses.replace(declared, **changes)


def _as_declared(source: FileSource | SqlSource, files: dict[str, Any], options: argparse.Namespace) -> FileSource:
    """The files of a job, read as the options say."""
    if isinstance(source, FileSource):
        return dataclasses.replace(source, **files)
    given = given_by_options(options.parser)
    raise ConfigError(
        f"{', '.join(given[name] for name in files)} is for files, and the job's source is a query; leave it out, or "
        "name files with the rows by --in. Nothing was sent"
    )


def _budget(options: argparse.Namespace, declared: Budget) -> Budget:
    """The budget of a job. Where Airflow would ask a person to approve, the command cannot ask, and refuses."""
    return dataclasses.replace(declared.unattended(), **_limits(options))


def _limits(options: argparse.Namespace) -> dict[str, Any]:
    fields = ("max_cost", "max_rows", "max_live_cost")
    return {name: value for name in fields if (value := getattr(options, name)) is not None}


def _live(options: argparse.Namespace, declared: BatchJob | None) -> dict[str, Any]:
    """What is answered live, where the command has options for that."""
    only, finish_by = getattr(options, "live", None), getattr(options, "finish_by", None)
    given = {name: value for name, value in (("only", only), ("finish_by", finish_by)) if value}
    live = declared.live if declared is not None else None
    return {"live": dataclasses.replace(live or Live(), **given)} if given else {}


def _question(options: argparse.Namespace, declared: BatchJob | None) -> dict[str, Any]:
    requested: dict[str, Any] = {}
    if options.system is not None:
        requested["system"] = text_of(options.system)
    if options.prompt is not None:
        requested |= {"prompt": text_of(options.prompt)}
        if declared is not None:
            requested["messages"] = None
    if options.messages is not None:
        requested["messages"] = _messages(options.messages)
        if declared is not None:
            requested = {"prompt": None, "system": None, **requested}
    return requested


def _messages(path: Path) -> list[dict[str, Any]]:
    try:
        value = json.loads(text_of(path))
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error})") from None
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise ConfigError(f'{path}: not a JSON list of messages such as [{{"role": "user", "content": "…"}}]')
    return value
