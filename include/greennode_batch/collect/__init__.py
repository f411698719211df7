"""Result files become results.parquet, one row per request.

collect       the whole step, for one shard
fetch         both files come into staging, whole, once
results       every line is accounted for (result_rows: lines -> columns)
anomalies     lines that settle no request, kept and counted
"""
