"""Which rows the targets have answered already.

target_rows      what a table has of earlier runs
all_targets      what all targets have together: unchanged rows, and such that one target gets from another
unchanged_rows   rows that are not asked (answer_cache, row_hashes, batch_buffer)
answered         the one rule by which a row needs no new request
"""
