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

Beside the pipeline:

    monitor/      how runs stand, for the UI
    analysis/     what the answers say: near duplicates, evaluation, pages
    probe/        finds out what a server speaks
    run           the whole path in one process
    cli/          the command; cli_options: what it takes

A task that only submits, waits or cleans up loads `state`, `batches`, `cleanup` and `job`, none of which loads Arrow.
"""

import os

import greennode_moved  # noqa: F401 - old module paths stay importable

# Arrow's own allocator keeps what was freed: a fifth more memory, and more time. Arrow reads this when it is imported;
# pyarrow's set_memory_pool would leave out what Arrow does inside, such as to read Parquet.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
