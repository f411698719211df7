"""`greennode-batch try`: the first rows are answered live and shown as a table; nothing is written without --out."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from contextlib import closing

from rich.console import Console
from rich.text import Text

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.batches.live_pace import read_live_limits
from greennode_batch.cli.declared_job import declared_job
from greennode_batch.cli.job_rows import job_rows
from greennode_batch.cli.out_file import open_out
from greennode_batch.interactive.api_key import api_key
from greennode_batch.interactive.progress import ProgressDisplay, engine_log
from greennode_batch.interactive.trial import trial_table, try_rows
from greennode_batch.job.prices import read_prices
from greennode_batch.run import run_to_file
from greennode_batch.staging.folders import run_folder

_NAME = "try"


def try_command(options: argparse.Namespace, progress: ProgressDisplay) -> int:
    """Run the first rows live in a folder that goes when they are shown."""
    with engine_log(logging.WARNING):  # the table says it all
        return _try_rows(options, progress)


def _try_rows(options: argparse.Namespace, progress: ProgressDisplay) -> int:
    limits = read_live_limits(vars(options))
    client = GreenNodeClient(
        options.base_url, api_key(), profile=options.profile, allow_http_hosts=options.allow_http_hosts
    )
    with client, tempfile.TemporaryDirectory(prefix="greennode-try-") as folder:
        job = declared_job(options, out=options.out or "out.parquet", partition_by=options.partition_by)
        prices = options.prices or read_prices(job.prices or {})
        run = run_folder(folder, job.name, _NAME)
        with job_rows(job, limit=options.rows) as rows:
            trial = try_rows(
                job,
                rows,
                client,
                run,
                run_id=_NAME,
                prices=prices,
                keeps_reasoning=options.show_reasoning,
                limits=limits,
                progress=progress,
            )
            if options.out and trial.answers:
                with closing(open_out(trial.job, run, options.out_format)) as out:
                    run_to_file(trial.job, rows, client, run, out, run_id=_NAME, prices=prices, progress=progress)
        with job_rows(job, limit=options.limit) as rows:
            count = sum(map(len, rows().batches))
        progress.pause()
        console = Console(file=sys.stdout, highlight=False)
        if trial.answers:
            console.print(trial_table(trial, reasoning=options.show_reasoning))
            console.print(Text(trial.summary))
        console.print(Text(trial.of_table(count)))
    return 0
