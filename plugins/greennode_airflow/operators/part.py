"""A part of a table -> its rows and their requests."""

from __future__ import annotations

import dataclasses
from typing import Any

from airflow.sdk import Context

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.form import choices_of
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.operators.source import SourceOperator
from greennode_airflow.runtime.runs import begin_run, group_of, run_job
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.source.partition import WHOLE, Part


class GreenNodeReadPartOperator(SourceOperator):
    """Reads one part of the source and renders its requests, for build_requests. Nothing is sent.

    job: with its partitions; its source's query or path is templated, with `{{ partition }}` and
    `{{ partitions }}`. partition: which part, from 0: map the task over all of them.
    """

    def __init__(self, *, job: BatchJob, partition: int, **kwargs: Any) -> None:
        super().__init__(job=job, part=Part(partition, job.partitions), **kwargs)
        self.partition = partition
        # Airflow does not do so for a mapped task.
        self.resolve_template_files()

    @fail_without_retry
    def execute(self, context: Context) -> None:
        """Read and render; replaces what was read before."""
        from greennode_airflow.runtime.source_access import open_source
        from greennode_batch.plan.partition_files import write_part
        from greennode_batch.plan.preflight import check_models

        self.check_conf(context)
        job = run_job(self.job, context)
        run = begin_run(context, group_of(self), conn_id=job.conn_id, is_first=True)
        part = WHOLE if self.names_its_part() else self.part
        with GreenNodeHook(job.conn_id).get_conn() as client:
            # A wrong key or model is found before the source is read.
            check_models(client, job.models)
            limit = choices_of(context).limit
            if limit is not None:
                # build_requests counts how many rows the run has.
                job = dataclasses.replace(job, budget=None)
            # If not every row is sent, the first ones to send may be anywhere in the part.
            with open_source(job, self.rendered, part, limit=limit if job.refresh == "all" else None) as rows:
                count = write_part(job, rows(), run, self.part, profile=client.profile)
        self.read = count, run.path.parent
        self.log.info("Part %d of %d: read %s rows, and rendered their requests", *self.part, f"{count:,}")
