"""The engine: a table in, a table out, through a batch inference API. It knows nothing of Airflow.

    job          what a user declares
    build/       source -> prompt -> request_lines -> shards, written down in plan
    submit       shard -> batch, exactly once (receipts: how far it is)
    collect/     batch files -> results, one per request, with its answer
    join/        results + source rows -> target table
    report       every row and every token accounted for

`api/` speaks HTTP, `staging` holds what lies between the steps, `run` and `cli` are the same steps
in one process.
"""
