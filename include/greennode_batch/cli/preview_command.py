"""`greennode-batch preview`: shows what a run would send, for a person to read; sends nothing."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack, closing

from greennode_batch.cli.declared_job import declared_job
from greennode_batch.cli.job_rows import job_rows
from greennode_batch.cli.out_file import open_out
from greennode_batch.cost.budget_check import budget_forecast
from greennode_batch.interactive.progress import ProgressDisplay
from greennode_batch.job.prices import read_prices
from greennode_batch.plan.build import build
from greennode_batch.plan.preview import preview
from greennode_batch.run import watched
from greennode_batch.staging.folders import run_folder
from greennode_batch.write.file_lookup import file_lookup

_NAME = "preview"


def preview_command(options: argparse.Namespace, progress: ProgressDisplay) -> int:
    """Build a run in a temporary folder, and show it."""
    with tempfile.TemporaryDirectory(prefix="greennode-preview-") as folder, ExitStack() as stack:
        job = declared_job(options, out=options.out or "out.parquet", partition_by=options.partition_by)
        run = run_folder(folder, job.name, _NAME)
        lookups = []
        if options.out:
            out = stack.enter_context(closing(open_out(job, run, options.out_format)))
            lookups.append(stack.enter_context(file_lookup(out, job.target_key, job_id=job.own_id)))
        rows = stack.enter_context(job_rows(job, limit=options.limit))
        prices = options.prices or read_prices(job.prices or {})
        plan = build(
            job, lambda: watched(rows(), progress), run, run_id=_NAME, profile=options.profile, target_lookups=lookups,
            prices=prices,
        )  # fmt: skip
        progress.pause()
        print(preview(run, plan, shown=options.requests))  # noqa: T201 - this is the command's output
        if said := budget_forecast(plan, job.budget, canary=job.canary, live=job.live):
            print(f"\n{said}")  # noqa: T201 - likewise
    return 0
