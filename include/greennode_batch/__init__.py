"""The engine: a table in, a table out, through a batch inference API. It knows nothing of Airflow.

The pipeline, in order; a later step may import an earlier one, never the reverse:

    job/          what a user declares: source, key, prompt, model, target, budget
    source/       rows of a query or of files
    request/      a row becomes a request line
    incremental/  which rows the target has answered already
    plan/         requests become shards and plan.json
    batches/      one shard, one batch, exactly once: upload, submit, wait (throttle/: our own limits)
    collect/      result files become results.parquet
    retry/        what is worth another attempt
    write/        results and source rows go into the targets
    reconcile/    source = shards = results = target, by id
    cleanup/      what is left behind goes: files at the API, old runs in staging

What the steps share:

    state/        every JSON document of staging, as a struct; no Arrow
    staging/      files that land whole, locally or in an object store
    answers/      the text of a model becomes typed values
    tables/       SQL tables
    cost/         estimates before, actual cost after
    api/          GreenNode over HTTP (polling/, results/)
    errors        every public error, named for what the caller does next
    wording       counts in words, and what gives a field where a message names it
    spans         the steps of a run in a trace

Beside the pipeline:

    monitor/      how runs stand, for the UI
    analysis/     what the answers say: near duplicates, evaluation, pages
    probe/        finds out what a server speaks
    run           the whole path in one process
    interactive/  what a person watches: a run on this machine, its progress, a trial of the first rows
    frame/        DataFrame in, DataFrame out: `enrich` and `estimate`, which this package exports
    cli/          the command

A task that only submits, waits or cleans up loads `state`, `batches`, `cleanup` and `job`, none of which loads Arrow.
"""

import os
from typing import TYPE_CHECKING, Any

import greennode_moved  # noqa: F401 - old module paths stay importable

# Arrow's own allocator keeps what was freed: a fifth more memory, and more time. Arrow reads this when it is imported;
# pyarrow's set_memory_pool would leave out what Arrow does inside, such as to read Parquet.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

if TYPE_CHECKING:
    from greennode_batch.frame.enrich import enrich, estimate

__all__ = ["enrich", "estimate"]


def __getattr__(name: str) -> Any:
    """`enrich` and `estimate`, which load Arrow and pandas: only who uses them waits for that."""
    if name in __all__:
        from greennode_batch.frame import enrich as module  # noqa: PLC0415 - see above

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
