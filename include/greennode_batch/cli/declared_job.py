"""The job of a command line: of --job, of the options, or of both."""

from __future__ import annotations

import argparse

from greennode_batch.cli.answer_option import answer_model
from greennode_batch.cli.job_file import load_job
from greennode_batch.cli.job_options import job_of
from greennode_batch.job.batch_job import BatchJob


def declared_job(options: argparse.Namespace, *, out: str, partition_by: tuple[str, ...] = ()) -> BatchJob:
    """The job; out: where its answers go. Raises ConfigError if the options declare none."""
    declared = load_job(options.job) if options.job else None
    if options.answer is not None:
        options.answer = answer_model(options.answer)
    return job_of(options, declared, out=out, partition_by=partition_by)
