"""`greennode-batch run`: sends the requests and writes the answers. The same command continues a stopped run."""

from __future__ import annotations

import argparse

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.batches.live_pace import read_live_limits
from greennode_batch.batches.throttle.limits import read_limits
from greennode_batch.cli.declared_job import declared_job
from greennode_batch.cli.job_rows import job_rows
from greennode_batch.cli.out_file import open_out
from greennode_batch.interactive.api_key import api_key
from greennode_batch.interactive.local_run import run_here, run_id_of
from greennode_batch.interactive.progress import ProgressDisplay
from greennode_batch.job.prices import read_prices
from greennode_batch.reconcile.report import check_failed_ratio


def run_command(options: argparse.Namespace, progress: ProgressDisplay) -> int:
    """Run the job to its end; returns the exit code."""
    job = declared_job(options, out=options.out, partition_by=options.partition_by)
    limits, live_limits = read_limits(vars(options)), read_live_limits(vars(options))
    prices = options.prices or read_prices(job.prices or {})
    run_id = run_id_of(job, options.base_url, limit=options.limit)
    client = GreenNodeClient(
        options.base_url, api_key(), profile=options.profile, allow_http_hosts=options.allow_http_hosts
    )
    with client, job_rows(job, limit=options.limit) as rows:
        made = run_here(
            job,
            rows,
            client,
            options.staging,
            lambda folder: open_out(job, folder, options.out_format),
            run_id=run_id,
            prices=prices,
            limits=limits,
            live_limits=live_limits,
            progress=progress,
            pilot_requests=options.pilot_requests,
        )
    progress.pause()
    print(made)  # noqa: T201 - this is the command's output
    if not made.rows:
        why = "all rows are answered already" if made.unchanged else "the source has no rows"
        print(f"{why}: no batch was created, no file written")  # noqa: T201 - likewise
    check_failed_ratio(made, job.max_failed_ratio)
    return 0
