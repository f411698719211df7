"""Result files become results.parquet, one row per request.

collect       the whole step, for one shard
download      both files land in staging, complete, once
results       every line of them is accounted for
result_rows   lines -> columns
anomalies     lines that settle no request, kept and counted
unread        stops a run whose result files settle almost nothing
same_failure  stops a model whose requests nearly all end unusable for one reason
pilot         the first, small shard of a run on a server whose results were not read before
"""
