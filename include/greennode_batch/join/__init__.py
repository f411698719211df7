"""Results + source rows -> targets: join matches by custom_id, target writes a shard into each table or dataset.

`earlier_rows` tells the builder what a table has of runs before.
"""
