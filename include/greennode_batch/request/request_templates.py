"""Request templates: one for each model of a job, and the requests that they make of a batch of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from greennode_batch.errors import RowError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.request.job_request import JobRequest, prompt_name
from greennode_batch.request.rendered_batch import RenderedBatch
from greennode_batch.request.request_lines import RequestLines, RequestTemplate
from greennode_batch.request.token_counter import TokenCounter
from greennode_batch.source.rows import Key, RowBatch

HELD_BYTES = 16 << 20
"""The most constant bytes of request lines to hold at once.

If all lines share a long constant text, a batch of rows is rendered in several steps.
"""


def request_templates(job: BatchJob, request: JobRequest, columns: Sequence[str]) -> list[RequestTemplate]:
    """The job's templates, in the order of its models. columns: all columns of the source."""
    return [RequestTemplate(model, request, columns, prompt_name=prompt_name(job)) for model in job.models]


def requests_of(
    template: RequestTemplate,
    batch: RowBatch,
    keys: Sequence[Key],
    named: Callable[[Key], str],
    counter: TokenCounter | None,
) -> RequestLines:
    """Render the requests of a batch of rows; those of a rendered batch exist already.

    keys: the keys of the rows.
    named: describes a row by its key, for errors.
    counter: counts the prompt tokens.

    Raises RowError with the row's key.
    """
    if isinstance(batch, RenderedBatch):
        return batch.requests(template)
    try:
        requests = template.requests(batch)
    except RowError as error:
        raise RowError(f"{named(keys[error.row or 0])}: {error}. Nothing was sent") from None
    return counter.counted(requests) if counter else requests
