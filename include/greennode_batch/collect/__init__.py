"""Result files become results.parquet, one row per request.

collect      the whole step, for one shard
download     both files come into staging, whole, once
results      every line of them is accounted for
result_rows  lines -> columns
anomalies    lines that settle no request, kept and counted
"""
