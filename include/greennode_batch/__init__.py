"""The engine: a table in, a table out, through a batch inference API. It knows nothing of Airflow.

    job          what a user declares
    build/       source -> prompt -> request_lines -> shards, written down in plan
    submit       shard -> batch, exactly once (upload: its file; receipts: how far it is; exclusive: who may)
    wait         one look at a batch, and what follows from it
    collect/     batch files -> results, one per request, with its answer; build.retry asks again what may end better
    join/        results + source rows -> target table
    report       every row and every token accounted for (reconcile/: source = shards = results = target, by id)
    spend        what a run may cost (prices, usage: what earlier ones used), held against its job_budget
    clean_up     what a run left at the API -> nothing; retention: what old runs left in staging -> their reports

Beside that way: `evaluation/` compares models by what they answered, `near_duplicates` finds answers that say the same,
and `pages/` shows what was found as HTML.

`api/` speaks HTTP, `staging` holds what lies between the steps, `run` and `cli` are the same steps
in one process.
"""

import os

import greennode_moved  # noqa: F401 - old module paths stay importable

# Arrow's own allocator keeps what was freed: a fifth more memory, and more time. Arrow reads this when it is imported;
# pyarrow's set_memory_pool would leave out what Arrow does inside, such as to read Parquet.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
