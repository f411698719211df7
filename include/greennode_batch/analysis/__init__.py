"""Analysis of answers, beside the pipeline.

near_duplicates  finds texts that are almost the same
evaluation/      compares the answers of several models with labels and with a judge's scores
pages/           self-contained HTML pages of results
"""
