"""Incremental runs: which rows the targets have answered already.

answered          the one rule for when a row needs no new request
target_lookup     what a table has of earlier runs
all_targets       what all targets have together, and which answers are copied between them
unchanged_rows    the rows that are not sent
answer_cache      what a run records about answered rows, so that the next one need not read the target
row_hashes        hashes of a row's key and of its prompt's inputs
batch_buffer      rows that the cache could not resolve, collected into batches
"""
