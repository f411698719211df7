"""DataFrame in, DataFrame out: `greennode_batch.enrich(df, key="id", prompt="…", model="…")`.

    enrich         enrich: asks about each row, and adds the answers; estimate: what that would send and cost
    frame_kinds    pandas, polars, Arrow and lists of dicts as columns, and back
    answer_match   the answers of rows, by their keys

A thin front of `greennode_batch.interactive.local_run`: the rows become a Parquet file, and the answers come from one.
"""
